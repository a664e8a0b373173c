package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

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

// outputFlag adds the flag that drawn reads. Formats are those besides wide.
func outputFlag(command *cobra.Command, value *string, formats ...string) {
	usage := "wide: everything, in lines as long as they get (default: the terminal's width, or 80)"
	if len(formats) > 0 {
		usage = strings.Join(formats, " or ") + ": for scripts; " + usage
	}
	command.Flags().StringVarP(value, "output", "o", "", usage)
}

// drawn returns the options of a drawing. It refuses an output that is neither wide nor one of
// the formats.
func (t terminal) drawn(output string, formats ...string) (view.Options, error) {
	o := t.drawing
	switch {
	case output == "" || output == "text" || slices.Contains(formats, output):
	case output == "wide":
		o.Width = 0
	case len(formats) == 0:
		return o, fmt.Errorf("--output %s: only wide is known; 'fairleadctl state -o json' is for scripts", output)
	default:
		return o, fmt.Errorf("--output %s: known are text, wide, %s", output, strings.Join(formats, ", "))
	}
	return o, nil
}
