package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/lint"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/view"
)

func newLintCommand(t terminal, from *source) *cobra.Command {
	o := lint.Options{DefaultNetworkNamespace: "kube-system", ResourcePrefix: "fairlead.dev"}
	node := false
	command := &cobra.Command{
		Use:   "lint [FILE…]",
		Short: "Print what Fairlead would refuse of manifests; exit code 0: nothing, 1: something, 2: no answer",
		Long: `Print what Fairlead would refuse of manifests, before they are applied.

The files hold net-attach-defs, pods or workloads, AttachmentPolicies, NICProfiles, the ConfigMaps
fairlead-policies and fairlead-profiles, or lists of them, as YAML or JSON; - is standard input. Objects of
other kinds are left out. Each net-attach-def and pod is compared with the policies and profiles among the
files. Warnings do not change the exit code. What depends on a node, such as the interfaces that it uses
itself, is checked there, when a pod starts.

With --node, the agent's cached net-attach-defs and the pods of its node are compared with the files too.
Without files, they are compared with the ConfigMaps that are in the cluster now.`,
		Example: `  fairleadctl lint policy.yaml networks.yaml
  fairleadctl lint --node policy.yaml
  kubectl get net-attach-def,pod -A -o yaml | fairleadctl lint policy.yaml -`,
		RunE: func(cmd *cobra.Command, names []string) error {
			files, err := readManifests(t, names)
			if err != nil {
				return err
			}
			if node || len(names) == 0 {
				text, err := state.NewClient(from.socket).Manifests(cmd.Context())
				if err != nil {
					return err
				}
				files = append(files, lint.File{Name: "node", Text: text, NoConfigMaps: len(names) > 0})
			}
			report := lint.Check(files, o)
			if err := printReport(t.out, report); err != nil {
				return err
			}
			if report.Refused() > 0 {
				return errProblems
			}
			return nil
		},
	}
	command.Flags().BoolVar(&node, "node", false, "add the objects that the agent on this node has cached; as without files")
	command.Flags().StringVar(&o.DefaultNetworkNamespace, "default-network-namespace", o.DefaultNetworkNamespace, "as the agent's flag")
	command.Flags().StringVar(&o.ResourcePrefix, "resource-prefix", o.ResourcePrefix, "as the agent's flag")
	return command
}

// readManifests reads the files.
func readManifests(t terminal, names []string) ([]lint.File, error) {
	var files []lint.File
	for _, name := range names {
		var text []byte
		var err error
		if name == "-" {
			text, err = io.ReadAll(t.in)
		} else {
			text, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, lint.File{Name: name, Text: text})
	}
	return files, nil
}

// printReport writes one line for each finding: manifests are users' texts, so whatever
// is not printable is escaped.
func printReport(out io.Writer, report lint.Report) error {
	warnings := 0
	for _, f := range report.Findings {
		word := "refused"
		if !f.Refused {
			word = "warning"
			warnings++
		}
		place := ""
		if f.File != "" && !strings.HasPrefix(f.Text, f.File) {
			place = f.File + ": "
		}
		if _, err := fmt.Fprintln(out, view.Printable(place+word+": "+f.Text)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d objects: %d refused, %d warnings\n", report.Objects, report.Refused(), warnings)
	return err
}
