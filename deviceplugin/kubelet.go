package deviceplugin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// removeStaleSockets removes the sockets of a killed agent and of removed pools.
func (m *Manager) removeStaleSockets() {
	m.mu.Lock()
	defer m.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(m.opts.Dir, endpointPrefix+"*"))
	if err != nil {
		return
	}
	for _, name := range names {
		used := false
		for _, s := range m.servers {
			used = used || strings.HasPrefix(filepath.Base(name), s.endpoint) // also matches the socket under its temporary name
		}
		if !used {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				m.opts.Log.Warn("cannot remove a stale socket", "error", err)
			}
		}
	}
}

// kubeletSocket is the file name of the socket at which plugins register.
const kubeletSocket = "kubelet.sock"

// watchDir starts to watch the kubelet's directory, or has retry fire again.
func (m *Manager) watchDir(watcher *fsnotify.Watcher, retry *time.Timer) {
	if err := watcher.Add(m.opts.Dir); err != nil {
		// The kubelet makes the directory at its first start.
		m.opts.Log.Debug("cannot watch the kubelet's directory yet", "dir", m.opts.Dir, "error", err)
		retry.Reset(m.opts.Retry)
	}
	m.checkServers() // earlier events were not reported
}

// handleEvent reacts to an event in the kubelet's directory. At its start the kubelet
// deletes all sockets there, and then makes its own.
func (m *Manager) handleEvent(event fsnotify.Event) {
	name := filepath.Base(event.Name)
	switch {
	case name == kubeletSocket && event.Op.Has(fsnotify.Create):
		m.opts.Log.Info("the kubelet has started")
		m.checkServers()
	case event.Op.Has(fsnotify.Remove) && strings.HasPrefix(name, endpointPrefix):
		m.checkServers()
	}
}

// checkServers has all servers check their sockets and registrations.
func (m *Manager) checkServers() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		signal(s.check)
	}
}
