package main

import (
	"os"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/view"
)

// processTerminal returns the process's own terminal. Colour and the limit to its width are for
// people; a pipe gets whole lines.
func processTerminal() terminal {
	t := terminal{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return t
	}
	t.drawing = view.Options{
		Width:  int(size.Col), // 0 on a serial console without a known size
		Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	return t
}
