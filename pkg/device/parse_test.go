package device

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/test/fuzz"
)

func TestParsePFRange(t *testing.T) {
	tests := map[string]struct {
		want PFRange
		err  string
	}{
		"ens1f0":           {want: PFRange{Name: "ens1f0"}},
		"ens1f0#0":         {want: PFRange{Name: "ens1f0", VFs: []IndexRange{{0, 0}}}},
		"ens1f0#0-3,5,7-9": {want: PFRange{Name: "ens1f0", VFs: []IndexRange{{0, 3}, {5, 5}, {7, 9}}}},
		"0000:3b:00.0#1-2": {want: PFRange{Name: "0000:3b:00.0", VFs: []IndexRange{{1, 2}}}},
		"":                 {err: "names no PF"},
		"#0-3":             {err: "names no PF"},
		"ens1f0#":          {err: `"" is not an index`},
		"ens1f0#3-1":       {err: `"3-1" ends before it begins`},
		"ens1f0#-1":        {err: `"" is not an index`},
		"ens1f0#+1":        {err: `"+1" is not an index`},
		"ens1f0#0,,1":      {err: `"" is not an index`},
		"ens1f0#0-":        {err: `"" is not an index`},
		"ens1f0#0-1-2":     {err: `"1-2" is not an index`},
		"ens1f0#a":         {err: `"a" is not an index`},
		"ens1f0#0#1":       {err: `"0#1" is not an index`},
		"ens1f0#65536":     {err: "above 65535"},
		"ens1f0#0-9999999": {err: "above 65535"},
	}
	for text, tt := range tests {
		t.Run(text, func(t *testing.T) {
			got, err := ParsePFRange(text)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), `"`+text) {
					t.Fatalf("error %v, want one that quotes the text and says %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Fatalf("%v (-want +got):\n%s", err, diff)
			}
			if got.String() != text {
				t.Errorf("String() = %q, want %q", got.String(), text)
			}
		})
	}
}

func FuzzParsePFRange(f *testing.F) {
	f.Add("ens1f0#0-3,5")
	f.Add("ens1f0#0-18446744073709551615")
	f.Add("ens1f0#5-" + strings.Repeat("9", 60000))
	f.Add("a\u202e#x")
	f.Fuzz(func(t *testing.T, text string) {
		var r PFRange
		var err error
		fuzz.Allocates(t, len(text), func() { r, err = ParsePFRange(text) })
		if fuzz.Refused(t, err); err != nil {
			return
		}
		again, err := ParsePFRange(r.String())
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Errorf("%q does not survive its own form %q: %v\n%s", text, r.String(), err, diff)
		}
	})
}
