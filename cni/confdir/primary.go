package confdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/network"
)

// ConfName is the file that Fairlead writes into the CNI conf dir; it sorts before
// the cluster's own.
const ConfName = "00-fairlead.conflist"

// ErrNoPrimary means that the conf dir has no network of the cluster's own (yet).
var ErrNoPrimary = errors.New("no primary network")

// Options say where the configs are.
type Options struct {
	Dir string // the runtime's conf dir
	// NetAttachDefDir has more files for net-attach-defs with an empty spec. It is searched
	// first, and may be missing.
	NetAttachDefDir string
	// Fixed is the primary network: a file name in Dir, the path of a file, or namespace/name of
	// a net-attach-def. Empty: the first file of Dir that is not a meta-plugin's.
	Fixed string
	// NetAttachDef looks up a net-attach-def. It is needed if Fixed names one.
	NetAttachDef func(ctx context.Context, namespace, name string) (network.Definition, error)
	Log          *slog.Logger
}

// Primary finds the cluster's own network, and the files of net-attach-defs with an empty
// spec.
type Primary struct {
	o Options

	mu   sync.Mutex // guards what follows
	last *network.ConfList
	seen string // the files on which last depends, when it was read; empty: last is to be read again
}

// NewPrimary returns a Primary that has read nothing yet.
func NewPrimary(o Options) *Primary { return &Primary{o: o} }

// Conf returns the conf as it is now. It is read again only if a file of the directory, or of
// the network's drop-in plugins, has changed. While the file is missing or unreadable (its owner
// may be replacing it), the last good content stays in effect: a pod never lands on another
// network because a file was gone for a moment.
func (p *Primary) Conf() (network.ConfList, error) {
	if namespace, name, ok := p.netAttachDef(); ok {
		list, err := p.define(namespace, name) // without the lock: it may wait for the API server
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.keep(list, "", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && p.seen != "" && p.seen == fingerprint(p.dir(), p.last.Name) {
		return *p.last, nil
	}
	return p.keep(p.reread())
}

// dir is the directory of the primary network's conf.
func (p *Primary) dir() string {
	if filepath.IsAbs(p.o.Fixed) {
		return filepath.Dir(p.o.Fixed)
	}
	return p.o.Dir
}

// keep remembers the list. After an error, it returns the last good one.
func (p *Primary) keep(list network.ConfList, seen string, err error) (network.ConfList, error) {
	if err == nil {
		p.last, p.seen = &list, seen
		return list, nil
	}
	p.seen = ""
	if p.last != nil {
		p.o.Log.Warn("the primary network's conf cannot be read; the last good one stays in effect", "error", err, "network", p.last.Name)
		return *p.last, nil
	}
	return network.ConfList{}, err
}

// reread reads the conf, and the state of the files on which it depends. The state is taken
// before the conf is read, and needs the network's name: if that is a new one, both are
// read again.
func (p *Primary) reread() (list network.ConfList, seen string, err error) {
	name := ""
	if p.last != nil {
		name = p.last.Name
	}
	for range 2 {
		seen = fingerprint(p.dir(), name)
		list, err = p.read()
		if err != nil || list.Name == name {
			return list, seen, err
		}
		name = list.Name
	}
	return list, "", nil
}

func (p *Primary) read() (network.ConfList, error) {
	if p.o.Fixed != "" {
		return p.readFixed()
	}
	files, err := confFiles(p.o.Dir)
	if err != nil {
		return network.ConfList{}, err
	}
	for _, file := range files {
		if filepath.Base(file) == ConfName || namesMeta(file) {
			continue
		}
		// A first file that is broken is not passed over: the next may be another
		// network altogether (m#1527).
		return readPrimary(file)
	}
	return network.ConfList{}, fmt.Errorf("%w: no .conflist, .conf or .json in %s besides %s; install the cluster's network plugin, "+
		"or name its file with the agent's --primary-conf if it is elsewhere", ErrNoPrimary, p.o.Dir, ConfName)
}

func (p *Primary) readFixed() (network.ConfList, error) {
	file := filepath.Join(p.dir(), filepath.Base(p.o.Fixed))
	list, err := readPrimary(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return list, fmt.Errorf("%w; the agent's --primary-conf names this file: its owner has not written it yet, or its directory is not mounted into the agent's pod", err)
	case err == nil && isMeta(list):
		return list, fmt.Errorf("%w: %s is a meta-plugin's conf; name the file of the network that makes eth0", ErrNoPrimary, p.o.Fixed)
	}
	return list, err
}

// netAttachDef returns the net-attach-def that is the primary network, if one is.
func (p *Primary) netAttachDef() (namespace, name string, ok bool) {
	if filepath.IsAbs(p.o.Fixed) {
		return "", "", false
	}
	return strings.Cut(p.o.Fixed, "/")
}

// defineTimeout bounds the wait for the API server.
const defineTimeout = 5 * time.Second

// define reads a net-attach-def that is the primary network.
func (p *Primary) define(namespace, name string) (network.ConfList, error) {
	ctx, cancel := context.WithTimeout(context.Background(), defineTimeout)
	defer cancel()
	d, err := p.o.NetAttachDef(ctx, namespace, name)
	if err == nil {
		d, err = d.Load(p.ByName)
	}
	switch {
	case errors.Is(err, network.ErrNotFound):
		return d.List, fmt.Errorf("%w: the agent's --primary-conf names net-attach-def %s/%s: %w; create it, or give a file name or an absolute path", ErrNoPrimary, namespace, name, err)
	case err != nil:
		return d.List, fmt.Errorf("%w: the agent's --primary-conf names net-attach-def %s/%s: %w", ErrNoPrimary, namespace, name, err)
	case d.Resource != "":
		return d.List, fmt.Errorf("%w: the agent's --primary-conf names net-attach-def %s/%s, which is backed by devices of %s; "+
			"not every pod has one: select it with the pods' annotation %s", ErrNoPrimary, namespace, name, d.Resource, network.DefaultNetworkAnnotation)
	}
	return d.List, nil
}

// ByName reads the conf whose CNI name is given, for net-attach-defs with an empty spec.
func (p *Primary) ByName(name string) (network.ConfList, error) {
	var dirs []string
	for _, dir := range []string{p.o.NetAttachDefDir, p.o.Dir} {
		files, err := confFiles(dir)
		switch {
		case dir == "", errors.Is(err, fs.ErrNotExist) && dir == p.o.NetAttachDefDir:
			continue
		case err != nil:
			return network.ConfList{}, err
		}
		dirs = append(dirs, dir)
		for _, file := range files {
			if nameOf(file) == name {
				return readConf(file)
			}
		}
	}
	return network.ConfList{}, fmt.Errorf("%w: no file in %s has the CNI name %q", network.ErrNotFound, strings.Join(dirs, " or "), name)
}
