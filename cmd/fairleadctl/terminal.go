package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/view"
)

// defaultWidth is that of most terminals. `kubectl exec` without -t shows the text on
// one whose width nobody knows.
const defaultWidth = 80

// processTerminal returns the process's own terminal. Colour is for people.
func processTerminal() terminal {
	t := terminal{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		t.drawing.Width = defaultWidth
		return t
	}
	t.drawing = view.Options{
		Width:  cmp.Or(int(size.Col), defaultWidth), // 0 on a serial console without a known size
		Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	return t
}

// widthFlag adds the flag that drawn reads.
func widthFlag(command *cobra.Command, value *string) {
	command.Flags().StringVarP(value, "output", "o", "", "wide: everything, in lines as long as they get (default: the terminal's width, or 80)")
}

// drawn returns the options of a drawing.
func (t terminal) drawn(output string) (view.Options, error) {
	o := t.drawing
	switch output {
	case "":
	case "wide":
		o.Width = 0
	default:
		return o, fmt.Errorf("--output %s: only wide is known; 'fairleadctl state -o json' is for scripts", output)
	}
	return o, nil
}
