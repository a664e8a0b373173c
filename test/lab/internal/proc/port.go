package proc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CheckPort returns an error that names the holder if a port is taken.
// Network is tcp or udp.
func CheckPort(network, addr string) error {
	err := tryListen(network, addr)
	if err == nil {
		return nil
	}
	_, port, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		return splitErr
	}
	return fmt.Errorf("%s port %s: %w; held by %s; end it, or move the lab with --port-offset", network, addr, err, holder(network, port))
}

func tryListen(network, addr string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, addr)
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen(network, addr)
	if err == nil {
		l.Close()
	}
	return err
}

// holder finds the processes whose open files include a listening socket of
// that port.
func holder(network, port string) string {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "nobody: not a port"
	}
	inodes := map[string]bool{}
	for _, table := range []string{network, network + "6"} {
		b, err := os.ReadFile("/proc/net/" + table)
		if err == nil {
			addListening(inodes, string(b), number)
		}
	}
	var names []string
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[string]bool{}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		if !seen[pid] {
			seen[pid] = true
			names = append(names, describe(pid))
		}
	}
	if len(names) == 0 {
		return "a process that cannot be seen from here"
	}
	return strings.Join(names, ", ")
}

// addListening collects the sockets of /proc/net/{tcp,udp} that wait for
// peers on a port: TCP state 0A, UDP state 07.
func addListening(inodes map[string]bool, table string, port uint64) {
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], suffix) && (f[3] == "0A" || f[3] == "07") {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}

func describe(pid string) string {
	cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	words := strings.Fields(strings.ReplaceAll(string(cmdline), "\x00", " "))
	text := strings.Join(words[:min(4, len(words))], " ")
	return fmt.Sprintf("pid %s (%.100s)", pid, text)
}
