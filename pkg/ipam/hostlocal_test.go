package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// meta-cni E2: ADD of a new sandbox and DEL with a known result open no other
// interface's file. Those are FIFOs here, for whose writer a reader waits forever.
func TestHostLocalReadsNoFileOfOthers(t *testing.T) {
	dir := t.TempDir()
	for i := 2; i < 20; i++ {
		fifo(t, filepath.Join(dir, "n1", fmt.Sprintf("10.1.2.%d", i)))
	}
	args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir, NewSandbox: true}
	c := json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))
	finishes(t, func() error {
		result, err := Add(t.Context(), nil, args, c)
		if err != nil {
			return err
		}
		args.Known = []net.IP{net.ParseIP("10.9.9.9"), result.IPs[0].Address.IP}
		return errors.Join(Check(t.Context(), nil, args, c), Del(t.Context(), nil, args, c))
	})
	if left := addresses(t, filepath.Join(dir, "n1")); len(left) != 18 {
		t.Errorf("left: %v, want only those of others", left)
	}
}

func TestDelOfKnownAddresses(t *testing.T) {
	tests := []struct {
		name  string
		known []string
		files map[string]string
		want  []string // left
	}{
		{"its own and another's", []string{"10.1.2.2", "10.1.2.3"},
			map[string]string{"10.1.2.2": "s1\r\nnet1", "10.1.2.3": "s2\r\nnet1"}, []string{"10.1.2.3"}},
		{"both families", []string{"10.1.2.2", "fd00::2"},
			map[string]string{"10.1.2.2": "s1\r\nnet1", "fd00::2": "s1\r\nnet1"}, nil},
		{"of an old stock plugin, which wrote no interface", []string{"10.1.2.2"}, map[string]string{"10.1.2.2": "s1"}, nil},
		{"the result names others: all are searched", []string{"10.9.9.9"}, map[string]string{"10.1.2.2": "s1\r\nnet1"}, nil},
		{"given to another sandbox since then", []string{"10.1.2.2"}, map[string]string{"10.1.2.2": "s2\r\nnet1"}, []string{"10.1.2.2"}},
		{"no result", nil, map[string]string{"10.1.2.2": "s1\r\nnet1", "10.1.2.3": "s1\r\nnet2"}, []string{"10.1.2.3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tt.files {
				write(t, filepath.Join(dir, "n1", name), content)
			}
			args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir}
			for _, ip := range tt.known {
				args.Known = append(args.Known, net.ParseIP(ip))
			}
			if err := Del(t.Context(), nil, args, json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, addresses(t, filepath.Join(dir, "n1"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// meta-cni B4: a stock host-local that hangs with the lock held ends no call's deadline.
func TestHostLocalWaitsForTheLockUntilTheDeadline(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "n1", "10.1.2.9"), "s1\r\nnet1")
	stock := lockAsStock(t, "n1", dir)
	args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir}
	c := json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))
	for verb, call := range map[string]func(context.Context) error{
		"ADD":   func(ctx context.Context) error { _, err := Add(ctx, nil, args, c); return err },
		"CHECK": func(ctx context.Context) error { return Check(ctx, nil, args, c) },
		"DEL":   func(ctx context.Context) error { return Del(ctx, nil, args, c) },
	} {
		finishes(t, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			err := call(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), filepath.Join(dir, "n1", "lock")) {
				return fmt.Errorf("%s: got error %v, want the deadline's, with the lock's path", verb, err)
			}
			return nil
		})
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		stock.Unlock()
	}()
	if err := Del(t.Context(), nil, args, c); err != nil {
		t.Errorf("DEL with the lock free again: %v", err)
	}
}

// The stock plugin's code reads and writes beside ours, in the same directory.
func TestHostLocalBesideTheStockPlugin(t *testing.T) {
	dir := t.TempDir()
	c := json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))
	ours := Args{SandboxID: "s1", IfName: "net1", DataDir: dir, NewSandbox: true}
	if _, err := Add(t.Context(), nil, ours, c); err != nil {
		t.Fatal(err)
	}
	stock := lockAsStock(t, "n1", dir)
	last, err := stock.LastReservedIP("0")
	if err != nil || last.String() != "10.1.2.2" {
		t.Errorf("the stock plugin reads last reserved address %v, %v", last, err)
	}
	if got := stock.GetByID("s1", "net1"); join(got) != "10.1.2.2" {
		t.Errorf("the stock plugin finds %v for us", got)
	}
	if ok, err := stock.Reserve("s2", "net1", net.ParseIP("10.1.2.3"), "0"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	stock.Unlock()
	other := Args{SandboxID: "s3", IfName: "net1", DataDir: dir, NewSandbox: true}
	result, err := Add(t.Context(), nil, other, c)
	if err != nil || asText(result) != "10.1.2.4/24 via 10.1.2.1" {
		t.Errorf("beside the stock plugin's: %v, %v", result, err)
	}
	stock.Lock()
	if err := stock.ReleaseByID("s3", "net1"); err != nil {
		t.Fatal(err)
	}
	stock.Unlock()
	if diff := cmp.Diff([]string{"10.1.2.2", "10.1.2.3"}, addresses(t, filepath.Join(dir, "n1"))); diff != "" {
		t.Error(diff)
	}
}

// An address whose file is made, but not last_reserved_ip, is given back.
func TestHostLocalRollsBackAHalfReservation(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "n1", "last_reserved_ip.0"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := Args{SandboxID: "s1", IfName: "net1", DataDir: dir, NewSandbox: true}
	if _, err := Add(t.Context(), nil, args, json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))); err == nil {
		t.Fatal("no error")
	}
	if left := addresses(t, filepath.Join(dir, "n1")); len(left) > 0 {
		t.Errorf("leaked: %v", left)
	}
}

func TestHostLocalManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	c := json.RawMessage(conf(`"subnet": "10.1.2.0/24"`, ""))
	const pods = 32
	errs := make(chan error, pods)
	for i := range pods {
		go func() {
			_, err := Add(t.Context(), nil, Args{SandboxID: fmt.Sprint("s", i), IfName: "net1", DataDir: dir, NewSandbox: true}, c)
			errs <- err
		}()
	}
	for range pods {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := addresses(t, filepath.Join(dir, "n1")); len(got) != pods {
		t.Errorf("%d addresses for %d pods: %v", len(got), pods, got)
	}
}

// meta-cni E2: the cost of ADD and DEL does not grow with the addresses in use.
func BenchmarkHostLocal(b *testing.B) {
	for _, used := range []int{1, 250, 2000} {
		b.Run(fmt.Sprint(used), func(b *testing.B) {
			dir := b.TempDir()
			c := json.RawMessage(conf(`"subnet": "10.0.0.0/16"`, ""))
			for i := range used {
				args := Args{SandboxID: fmt.Sprint("other", i), IfName: "net1", DataDir: dir, NewSandbox: true}
				if _, err := Add(b.Context(), nil, args, c); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				addAndDel(b, Args{SandboxID: "s1", IfName: "net1", DataDir: dir, NewSandbox: true}, c)
			}
		})
	}
}

func addAndDel(b *testing.B, args Args, c json.RawMessage) {
	result, err := Add(b.Context(), nil, args, c)
	if err != nil {
		b.Fatal(err)
	}
	for _, ip := range result.IPs {
		args.Known = append(args.Known, ip.Address.IP)
	}
	if err := Del(b.Context(), nil, args, c); err != nil {
		b.Fatal(err)
	}
}

func lockAsStock(t *testing.T, network, dir string) *disk.Store {
	t.Helper()
	stock, err := disk.New(network, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stock.Close() })
	if err := stock.Lock(); err != nil {
		t.Fatal(err)
	}
	return stock
}

func fifo(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// finishes fails the test if call fails, or hangs.
func finishes(t *testing.T, call func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("hangs")
	}
}
