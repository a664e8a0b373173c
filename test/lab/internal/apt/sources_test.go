package apt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deb822 = `Types: deb deb-src
# http://mirror.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://addon.example/linux/debian
Suites: bookworm
Components: stable

Types: deb
URIs: https://addon.example/postgres
Suites: bookworm
Components: main
`

const oneLine = `# the archive
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg trusted=yes] http://mirror.example/debian bookworm main contrib # here
deb http://mirror.example/debian	bookworm-updates main
deb http://mirror.example/debian bookworm-backports main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb https://addon.example/linux/debian bookworm stable
`

func TestDeriveDeb822(t *testing.T) {
	entries, err := ParseDeb822(strings.NewReader(deb822))
	if err != nil {
		t.Fatal(err)
	}
	want := `Types: deb
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: trixie-security
Components: main
Check-Valid-Until: no
Signed-By: 
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----
`
	if diff := cmp.Diff(want, Format(Derive(entries, "bookworm", "trixie"))); diff != "" {
		t.Errorf("derived sources (-want +got):\n%s", diff)
	}
}

func TestDeriveOneLine(t *testing.T) {
	entries, err := ParseOneLine(strings.NewReader(oneLine))
	if err != nil {
		t.Fatal(err)
	}
	want := `Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Trusted: yes

Types: deb
URIs: http://mirror.example/debian
Suites: trixie-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
`
	if diff := cmp.Diff(want, Format(Derive(entries, "bookworm", "trixie"))); diff != "" {
		t.Errorf("derived sources (-want +got):\n%s", diff)
	}
}

func TestWithBackports(t *testing.T) {
	for name, parse := range map[string]func() ([]Entry, error){
		"deb822":   func() ([]Entry, error) { return ParseDeb822(strings.NewReader(deb822)) },
		"one-line": func() ([]Entry, error) { return ParseOneLine(strings.NewReader(oneLine)) },
	} {
		entries, err := parse()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := Format(WithBackports(entries, "bookworm"))
		if n := strings.Count(got, "bookworm-backports"); n != 1 {
			t.Errorf("%s: backports are named %d times, want once:\n%s", name, n, got)
		}
		if strings.Contains(got, "addon.example") || strings.Contains(got, "security bookworm-backports") {
			t.Errorf("%s: backports at a source that has none:\n%s", name, got)
		}
		if before := Format(entries); strings.Contains(name, "deb822") && strings.Contains(before, "backports") {
			t.Errorf("%s: the entries given were changed", name)
		}
	}
}

func TestDeriveOfAnotherRelease(t *testing.T) {
	entries, err := ParseOneLine(strings.NewReader(oneLine))
	if err != nil {
		t.Fatal(err)
	}
	if got := Derive(entries, "trixie", "trixie"); len(got) != 0 {
		t.Errorf("derived %v from sources of another release, want none", got)
	}
}

func TestParseErrors(t *testing.T) {
	if _, err := ParseOneLine(strings.NewReader("deb [arch=amd64 http://mirror.example/debian bookworm main\n")); err == nil {
		t.Error("one-line source without closing bracket: no error")
	}
	if _, err := ParseOneLine(strings.NewReader("deb http://mirror.example/debian\n")); err == nil {
		t.Error("one-line source without suite: no error")
	}
	if _, err := ParseDeb822(strings.NewReader(" continues nothing\n")); err == nil {
		t.Error("continuation without field: no error")
	}
	if _, err := ParseDeb822(strings.NewReader("Types deb\n")); err == nil {
		t.Error("field without colon: no error")
	}
}
