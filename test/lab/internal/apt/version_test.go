package apt

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestQEMUSuite(t *testing.T) {
	if s, err := QEMUSuite("12", "bookworm"); err != nil || s != "bookworm-backports" {
		t.Errorf("Debian 12: %q, %v, want bookworm-backports", s, err)
	}
	if s, err := QEMUSuite("13", "trixie"); err != nil || s != "" {
		t.Errorf("Debian 13: %q, %v, want the release itself", s, err)
	}
	if _, err := QEMUSuite("11", "bullseye"); err == nil {
		t.Error("Debian 11: no error")
	}
}

func TestParseDepends(t *testing.T) {
	got := parseDepends([]byte("linux-image-amd64\n  Depends: linux-image-6.12.117+deb13-amd64\n |Depends: a\n  Recommends: b\n"))
	if want := []string{"linux-image-6.12.117+deb13-amd64", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReadSystem(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"etc/os-release":                              "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n",
		"etc/apt/sources.list":                        "deb http://a.example/debian bookworm main\n",
		"etc/apt/sources.list.d/b.sources":            "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm\nComponents: main\n",
		"etc/apt/sources.list.d/off.sources.disabled": "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ReadSystem(root)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != "debian" || s.Version != "12" || s.Codename != "bookworm" {
		t.Errorf("system %+v", s)
	}
	var uris []string
	for _, e := range s.Sources {
		uris = append(uris, e.URIs...)
	}
	if want := []string{"http://a.example/debian", "http://b.example/debian"}; !slices.Equal(uris, want) {
		t.Errorf("sources %v, want %v", uris, want)
	}
}
