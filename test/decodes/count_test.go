//go:build decodes

package decodes

import (
	"encoding/json"
	"strings"
	"testing"
)

// nested decodes within a decode.
type nested struct{ inner int }

func (n *nested) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &n.inner) }

func decodeTwo() error {
	var values []nested
	return json.Unmarshal([]byte("[1, 2]"), &values)
}

func decodeStream() error {
	d := json.NewDecoder(strings.NewReader("1 2"))
	var v int
	if err := d.Decode(&v); err != nil {
		return err
	}
	return d.Decode(&v)
}

func TestCount(t *testing.T) {
	counts, inner := Count("decodeApart", func() {
		if err := decodeTwo(); err != nil {
			t.Error(err)
		}
		if err := decodeStream(); err != nil {
			t.Error(err)
		}
		decodeApart(t)
	})
	want := "   2  test/decodes.decodeStream\n   1  test/decodes.decodeTwo\n"
	if got := counts.String(); got != want || counts.Total() != 3 || inner != 2 {
		t.Errorf("got %d, %d nested:\n%swant\n%s", counts.Total(), inner, got, want)
	}
}

func decodeApart(t *testing.T) {
	if err := decodeTwo(); err != nil {
		t.Error(err)
	}
}
