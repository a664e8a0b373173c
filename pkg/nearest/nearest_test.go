package nearest

import "testing"

// reports 23, lab "a suggestion for a mistyped command".
func TestName(t *testing.T) {
	flags := []string{"output", "socket", "file", "help"}
	for _, tt := range []struct {
		misspelt string
		names    []string
		want     string
	}{
		{"sokcet", flags, "socket"},
		{"SOCKET", flags, "socket"},
		{"outptu", flags, "output"},
		{"ip", []string{"name", "ips"}, "ips"},
		{"iface", []string{"ips", "interface"}, "interface"}, // its letters in their order
		{"zzzzzz", flags, ""},
		{"", flags, ""},
		{"fairlead.dev/fsat", []string{"fairlead.dev/fast", "fairlead.dev/dpdk"}, "fairlead.dev/fast"},
		{"fairlead.dev/fast", nil, ""},
	} {
		if got := Name(tt.misspelt, tt.names); got != tt.want {
			t.Errorf("Name(%q) = %q, want %q", tt.misspelt, got, tt.want)
		}
	}
}
