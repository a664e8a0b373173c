package pci

import (
	"testing"

	"fairlead.dev/fairlead/test/fuzz"
)

// An address in its own form is the same address.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"0000:3b:02.1", "3b:02.1", "00010000:00:1f.7", "0000:3b:20.0", "0000:3b:02.8", "000000000:00:00.0", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := ParseAddress(text)
		if fuzz.Refused(t, err); err != nil {
			return
		}
		if again, err := ParseAddress(addr.String()); err != nil || again != addr || addr.Device > 0x1f || addr.Function > 7 {
			t.Errorf("%q is %s, and that is %s, %v", text, addr, again, err)
		}
	})
}
