package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/pkg/nearest"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/view"
)

// Exit codes, for scripts. 0: all is well. 1: the answer shows a problem. 2: there is no
// answer.
const (
	exitProblems = 1
	exitFailed   = 2
)

// terminal is the input and output of the program.
type terminal struct {
	in      io.Reader
	out     io.Writer
	errOut  io.Writer
	drawing view.Options
}

func newRoot(t terminal) *cobra.Command {
	var from source
	root := &cobra.Command{
		Use:           "fairleadctl",
		Short:         "Show which VFs, pods and pools a Fairlead agent has on its node",
		Version:       build,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		// The distance of a mistyped command to those that are suggested for it.
		SuggestionsMinimumDistance: 2,
		// Without a run function cobra answers an unknown command with help and success.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(knownFlag)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.errOut)
	root.PersistentFlags().StringVar(&from.socket, "socket", state.DefaultSocket, "unix socket of the agent on this node")
	root.PersistentFlags().StringArrayVarP(&from.files, "file", "f", nil,
		"read a state that 'fairleadctl state -o json' printed instead of asking the agent; - is standard input; may be repeated")
	root.AddCommand(newStateCommand(t, &from), newStatusCommand(t, &from), newTopologyCommand(t, &from), newVFCommand(t, &from),
		newReadyCommand(&from), newVersionCommand(t, &from), newLintCommand(t, &from))
	return root
}

// knownCommand refuses a command that does not exist, and names those that are near.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q: 'fairleadctl --help' lists all", args[0])
}

// knownFlag adds the flag that a mistyped one most likely means to the error.
func knownFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	note := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.Flags().VisitAll(note)
	cmd.InheritedFlags().VisitAll(note)
	if near := nearest.Name(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Errorf("%w: did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w: '%s --help' lists all", err, cmd.CommandPath())
}

// source is where states come from: files, or the agent's socket.
type source struct {
	socket string
	files  []string
}

func (s source) read(ctx context.Context, in io.Reader) ([]state.State, error) {
	if len(s.files) == 0 {
		one, err := state.NewClient(s.socket).State(ctx)
		return []state.State{one}, err
	}
	var out []state.State
	for _, file := range s.files {
		states, err := readFile(file, in)
		if err != nil {
			return nil, err
		}
		out = append(out, states...)
	}
	return out, nil
}

// readFile reads the states in a file: one, or several in a row.
func readFile(file string, in io.Reader) ([]state.State, error) {
	var body []byte
	var err error
	if file == "-" {
		body, err = io.ReadAll(in)
	} else {
		body, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	states, err := state.DecodeAll(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return states, nil
}
