package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/problem"
)

var (
	reasonRow     = regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\| .* \\|$")
	declared      = regexp.MustCompile(`Reason = "(\w+)"`)
	problemMade   = regexp.MustCompile(`problem\.Problem\{\{?[^}\n]`)
	withoutReason = regexp.MustCompile(`problem\.Problem\{\{?(?:[^R{}\n]|R[^e])`)
)

// lab "Nothing reaches the cluster": a problem has a reason that is described, in the program
// and on the page that users search, and so it has an event, or says why not.
func TestEachProblemHasAReasonThatIsDescribed(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, reasons []string
	for _, k := range problem.Kinds() {
		reasons = append(reasons, string(k.Reason))
		means := k.Means
		if k.NoEvent != "" {
			means += " (no event: " + k.NoEvent + ")"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s |", k.Reason, means))
	}
	got := reasonRow.FindAllString(string(page), -1)
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("rows of troubleshooting.md (-want +got):\n%s", diff)
	}
	source := programText(t)
	var constants []string
	for _, c := range declared.FindAllStringSubmatch(source, -1) {
		constants = append(constants, c[1])
	}
	slices.Sort(reasons)
	slices.Sort(constants)
	if diff := cmp.Diff(constants, reasons); diff != "" {
		t.Errorf("constants and Kinds differ (-constants +kinds):\n%s", diff)
	}
	if made := problemMade.FindAllString(source, -1); len(made) < 10 {
		t.Errorf("only %d problems are made in the source", len(made))
	}
	if bare := withoutReason.FindAllString(source, -1); len(bare) > 0 {
		t.Errorf("problems without a Reason: %q", bare)
	}
}
