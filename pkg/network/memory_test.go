package network

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// S7, S16: Size is an upper bound of the memory that a definition takes, and MaxSize one of Size,
// whatever the config is made of.
func TestSizeBoundsTheHeap(t *testing.T) {
	for name, config := range map[string]string{
		"ordinary":     `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/16"}}`,
		"one value":    `{"type":"macvlan","x":"` + strings.Repeat("x", MaxConfigBytes-64) + `"}`,
		"many keys":    `{"type":"macvlan",` + keys(MaxKeys-1) + `}`,
		"all of these": `{"plugins":[` + strings.Repeat(`{"type":"macvlan",`+keys(MaxKeys-1)+`},`, MaxMembers-1) + `{"type":"macvlan"}]}`,
		"capabilities": `{"type":"macvlan","capabilities":{` + strings.ReplaceAll(keys(MaxKeys), ":1", ":true") + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			const count = 100
			all := make([]Definition, count)
			before := heap()
			for i := range all {
				var err error
				if all[i], err = ParseDefinition("ns", "nad", config, nil); err != nil {
					t.Fatal(err)
				}
			}
			got, size := (heap()-before)/count, all[0].Size()
			t.Logf("config of %d bytes: %d bytes of heap, size %d", len(config), got, size)
			if got > size || size > MaxSize {
				t.Errorf("%d bytes of heap, size %d, the largest %d", got, size, MaxSize)
			}
			runtime.KeepAlive(all)
		})
	}
}

func keys(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf(`"k%d":1`, i)
	}
	return strings.Join(words, ",")
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// S7: a key costs much more memory than its few bytes of text.
func TestTooManyKeys(t *testing.T) {
	for name, config := range map[string]string{
		"of a plugin":    `{"type":"macvlan",` + keys(MaxKeys) + `}`,
		"of a member":    `{"plugins":[{"type":"macvlan"},{"type":"x",` + keys(MaxKeys) + `}]}`,
		"further within": `{"type":"tuning","sysctl":{` + keys(MaxKeys+1) + `}}`,
	} {
		_, err := ParseDefinition("ns", "nad", config, nil)
		if err == nil || !strings.Contains(err.Error(), "more than 256 keys") || !strings.Contains(err.Error(), "; make it smaller") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseSelections(`[{"name":"a","cni-args":{`+keys(MaxKeys+1)+`}}]`, "ns"); err == nil || !strings.Contains(err.Error(), "more than 256 keys") {
		t.Errorf("of an annotation: %v", err)
	}
	if _, err := ParseDefinition("ns", "nad", `{"type":"tuning","sysctl":{`+keys(MaxKeys)+`}}`, nil); err != nil {
		t.Error(err)
	}
}

// S7: a text that a cache has shortened is refused like the text itself, with its size.
func TestShorten(t *testing.T) {
	for _, n := range []int{0, 10, MaxAnnotationBytes, MaxAnnotationBytes + 1, 262_000} {
		text := strings.Repeat("a", n)
		short := Shorten(text, MaxAnnotationBytes)
		if len(short) > MaxAnnotationBytes || size(short) != n || n <= MaxAnnotationBytes && short != text {
			t.Errorf("%d bytes became %d, of size %d", n, len(short), size(short))
		}
		_, want := ParseSelections(text, "ns")
		if _, err := ParseSelections(short, "ns"); fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%d bytes: got %v, want %v", n, err, want)
		}
		if again := Shorten(short, MaxAnnotationBytes); again != short {
			t.Errorf("it is shortened twice: %q", again)
		}
	}
	for _, forged := range []string{shortened, shortened + "x", shortened + "-1", shortened + "7"} { // by a tenant
		var e *SelectionError
		if _, err := ParseSelections(forged, "ns"); !errors.As(err, &e) {
			t.Errorf("%q: %v", forged, err)
		}
	}
}
