package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/network"
)

// ConfName is the file that Fairlead writes into the CNI conf dir; it sorts before
// the cluster's own.
const ConfName = "00-fairlead.conflist"

// ErrNoPrimary means that the conf dir has no network of the cluster's own (yet).
var ErrNoPrimary = errors.New("no primary network")

// Primary finds the cluster's own network in the CNI conf dir: the first file by
// name that is not a meta-plugin's, or a fixed one.
type Primary struct {
	dir   string
	fixed string // file name; empty: the first
	log   *slog.Logger

	mu   sync.Mutex // guards what follows
	last *network.ConfList
	seen string // the directory's files when last was read; empty: last is to be read again
}

// NewPrimary looks in dir; fixed is a file name there, or empty.
func NewPrimary(dir, fixed string, log *slog.Logger) *Primary {
	return &Primary{dir: dir, fixed: fixed, log: log}
}

// Conf returns the conf as it is now. It is read again only if a file of the directory
// has changed. While the file is missing or unreadable (its owner may be replacing it),
// the last good content stays in effect: a pod never lands on another network because a
// file was gone for a moment.
func (p *Primary) Conf() (network.ConfList, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := fingerprint(p.dir)
	if now != "" && now == p.seen {
		return *p.last, nil
	}
	list, err := p.read()
	if err == nil {
		p.last, p.seen = &list, now
		return list, nil
	}
	p.seen = ""
	if p.last != nil {
		p.log.Warn("the primary network's conf cannot be read; the last good one stays in effect", "error", err, "network", p.last.Name)
		return *p.last, nil
	}
	return network.ConfList{}, err
}

// settled is the age from which a file's times identify its contents: two writes may
// come within one tick of the file system's clock.
const settled = 2 * time.Second

// fingerprint identifies the contents of all conf files of a directory; empty if that is
// not possible, because one has just been written.
func fingerprint(dir string) string {
	files, err := confFiles(dir)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || time.Since(info.ModTime()) < settled {
			return ""
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return ""
		}
		fmt.Fprintf(&b, "%s %d %d %d %d\n", file, stat.Ino, info.Size(), stat.Mtim.Nano(), stat.Ctim.Nano())
	}
	return b.String()
}

func (p *Primary) read() (network.ConfList, error) {
	if p.fixed != "" {
		list, err := readConf(filepath.Join(p.dir, p.fixed))
		if err == nil && isMeta(list) {
			err = fmt.Errorf("%w: %s is a meta-plugin's conf; name the file of the network that makes eth0", ErrNoPrimary, p.fixed)
		}
		return list, err
	}
	files, err := confFiles(p.dir)
	if err != nil {
		return network.ConfList{}, err
	}
	for _, file := range files {
		if filepath.Base(file) == ConfName || namesMeta(file) {
			continue
		}
		// A first file that is broken is not passed over: the next may be another
		// network altogether (m#1527).
		return readConf(file)
	}
	return network.ConfList{}, fmt.Errorf("%w: no .conflist, .conf or .json in %s besides %s; install the cluster's network plugin", ErrNoPrimary, p.dir, ConfName)
}

// ByName reads the conf whose CNI name is given, for net-attach-defs with an empty spec.
func (p *Primary) ByName(name string) ([]byte, error) {
	files, err := confFiles(p.dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var head struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &head) == nil && head.Name == name {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("%w: no file in %s has the CNI name %q", network.ErrNotFound, p.dir, name)
}

// confFiles lists the files that a runtime would consider, in its order.
func confFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the CNI conf dir: %w", err)
	}
	var files []string
	for _, e := range entries { // sorted by name
		ext := filepath.Ext(e.Name())
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && slices.Contains([]string{".conflist", ".conf", ".json"}, ext) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

func readConf(file string) (network.ConfList, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return network.ConfList{}, fmt.Errorf("%w: %w", ErrNoPrimary, err)
	}
	list, err := network.ParseConfList(raw, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)))
	if err != nil {
		return list, fmt.Errorf("%w: %s: %w; correct or remove the file", ErrNoPrimary, file, err)
	}
	return list, nil
}

// namesMeta reports a meta-plugin's conf. It reads only the types: the parser refuses
// Fairlead's own conf, and a broken file counts as nobody's.
func namesMeta(file string) bool {
	raw, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var conf struct {
		Type    string `json:"type"`
		Plugins []struct {
			Type string `json:"type"`
		} `json:"plugins"`
	}
	if json.Unmarshal(raw, &conf) != nil {
		return false
	}
	for _, p := range conf.Plugins {
		if wire.IsMeta(p.Type) {
			return true
		}
	}
	return wire.IsMeta(conf.Type)
}

func isMeta(list network.ConfList) bool {
	return slices.ContainsFunc(list.Plugins, func(p network.Plugin) bool { return wire.IsMeta(p.Type) })
}
