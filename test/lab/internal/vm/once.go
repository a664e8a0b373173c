package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/proc"
)

// Words on the console that report how a one-time boot went. lab/prepare and
// the initramfs print them.
const (
	prepared = "LAB-PREPARED"
	probed   = "LAB-PROBE-OK"
)

// Prepare boots a new disk once, so that it takes the images in.
func Prepare(ctx context.Context, b Boot, rawDisk string) error {
	return once(ctx, b, PrepareArgs(b, rawDisk), prepared, 10*time.Minute)
}

// ChooseAccel returns kvm if a probe boot shows that it works, otherwise tcg. On some
// machines with /dev/kvm no ordinary guest runs, and the probe hangs. So its answer is
// kept in a file until the next reboot.
func ChooseAccel(ctx context.Context, b Boot, answerFile string) string {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg"
	}
	bootID, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if known, err := os.ReadFile(answerFile); err == nil {
		if accel, ok := strings.CutPrefix(string(known), string(bootID)); ok {
			return accel
		}
	}
	b.Accel = "kvm"
	answer := "kvm"
	if once(ctx, b, ProbeArgs(b), probed, probeLimit) != nil {
		answer = "tcg"
	}
	if ctx.Err() == nil {
		os.WriteFile(answerFile, append(bootID, answer...), 0o644) // lost: the next up asks again
	}
	return answer
}

// probeLimit is enough: a kernel under KVM needs two seconds for its answer.
const probeLimit = 15 * time.Second

// once runs a machine to its end and looks for a word on its console.
func once(ctx context.Context, b Boot, args []string, word string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := os.Remove(b.Serial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	console, _ := os.ReadFile(b.Serial)
	if strings.Contains(string(console), word) {
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("not finished after %s", limit)
	}
	return fmt.Errorf("the machine did not say %s: %v\n%s\nconsole (%s):\n%s", word, err, out, b.Serial, proc.Tail(b.Serial, 30))
}
