package confdir

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/pkg/retry"
)

// Calm is how long the files must have stayed in place for a contest to be over.
const Calm = time.Minute

// ciliumSuffix is what Cilium appends to the confs of others, if cni.exclusive is true.
const ciliumSuffix = ".cilium_bak"

// Contest watches for other software that removes or replaces the shim or its conf, as often
// as they are installed. Installing them again at once would help nobody: Contest makes the pause
// grow, and names the cause.
type Contest struct {
	Installer Installer

	mu        sync.Mutex // guards what follows
	installed time.Time  // last; zero: not by this process
	losses    int        // in a row
	lost      string     // the file that did not stay, last
	taken     string     // its new name; empty: unknown
	at        time.Time  // of the last loss
	open      bool       // the files were not installed since the last loss
}

// Installed records that the files are in place. changed says that they were not before.
func (c *Contest) Installed(changed bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed || c.installed.IsZero() {
		c.installed = now
	}
	c.open = false
}

// Look compares the files with those that were installed. It returns the pause before they
// are to be installed again, and whether a contest has begun, has another cause, or is over.
func (c *Contest) Look(now time.Time) (pause time.Duration, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.installed.IsZero() {
		return 0, false
	}
	lost := c.Installer.altered()
	switch {
	case lost == "" && c.losses > 0 && now.Sub(c.installed) >= Calm:
		c.losses = 0
		return 0, true
	case lost == "":
		return 0, false
	}
	taken := renamed(lost, c.installed)
	changed = c.losses == 0 || c.lost != lost || c.taken != taken
	if !c.open {
		c.losses++
		c.at = now
	}
	c.lost, c.taken, c.open = lost, taken, true
	if c.losses == 1 { // perhaps an upgrade of the cluster's network plugin: no pod should wait for that
		return 0, changed
	}
	return retry.Backoff{First: time.Second, Max: time.Minute}.After(c.losses - 1), changed
}

// Problem describes the contest, its cause and its remedy. It is empty without a contest.
func (c *Contest) Problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.losses == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "other software removes or replaces %s, so new pods may start without their networks: %d times, last at %s",
		c.lost, c.losses, c.at.UTC().Format(time.RFC3339))
	if c.taken != "" {
		fmt.Fprintf(&b, ", when it was renamed to %s", c.taken)
	}
	if strings.HasSuffix(c.taken, ciliumSuffix) {
		b.WriteString("; Cilium does that unless it runs with cni.exclusive=false: set that in its Helm values, and restart its agents")
	} else {
		fmt.Fprintf(&b, "; find the software that manages %s: Cilium without cni.exclusive=false, the installer of another network plugin, "+
			"configuration management, or a second release of this agent", filepath.Dir(c.lost))
	}
	fmt.Fprintf(&b, " (installed again after a pause that grows up to a minute; over when the file has stayed for %s)", Calm)
	return b.String()
}

// altered returns the installed file that is missing or has other contents; empty if both are
// in place.
func (i Installer) altered() string {
	if conf, err := i.conf(); err == nil && !hasContents(i.confPath(), conf) {
		return i.confPath()
	}
	if shim, err := os.ReadFile(i.Shim); err == nil && !hasContents(i.shimPath(), shim) {
		return i.shimPath()
	}
	return ""
}

// hasContents is also true if the file cannot be looked at: that is not its removal.
func hasContents(file string, want []byte) bool {
	have, err := os.ReadFile(file)
	return err == nil && bytes.Equal(have, want) || err != nil && !os.IsNotExist(err)
}

// renamed finds the new name of a file that was renamed since it was installed, if that is the
// old one and a suffix. Leftovers of earlier times do not count: a rename changes a file's ctime.
func renamed(lost string, installed time.Time) string {
	candidates, err := filepath.Glob(lost + ".*")
	if err != nil {
		return ""
	}
	const coarse = time.Second // the file system's clock may lag
	for _, file := range candidates {
		info, err := os.Lstat(file)
		if err != nil {
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if ok && !time.Unix(stat.Ctim.Unix()).Before(installed.Add(-coarse)) {
			return file
		}
	}
	return ""
}
