package confdir

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/network"
)

// settled is the age from which a file's times identify its contents: two writes may
// come within one tick of the file system's clock.
const settled = 2 * time.Second

// fingerprint identifies the contents of all conf files of a directory, and of the drop-in
// plugins of one network. It is empty if that is not possible, because one has just been
// written.
func fingerprint(dir, network string) string {
	files, err := confFiles(dir)
	if err != nil {
		return ""
	}
	dropIns, err := dropInFiles(dir, network)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, file := range append(files, dropIns...) {
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

// dropInFiles lists the files of a network's drop-in plugins, as libcni does.
func dropInFiles(dir, network string) ([]string, error) {
	if network == "" {
		return nil, nil
	}
	dir = filepath.Join(dir, network)
	files, err := libcni.ConfFiles(dir, []string{".conf"})
	if err != nil {
		return nil, fmt.Errorf("read the drop-in plugins in %s: %w", dir, err)
	}
	return files, nil
}

// readDropIns reads the drop-in plugins of a network whose conf is in dir.
func readDropIns(dir string) network.DropIns {
	return func(name string) ([]network.DropIn, error) {
		files, err := dropInFiles(dir, name)
		if err != nil {
			return nil, err
		}
		var all []network.DropIn
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read a drop-in plugin: %w", err)
			}
			all = append(all, network.DropIn{File: file, Config: raw})
		}
		return all, nil
	}
}

// readConf reads a conf with the drop-in plugins beside it.
func readConf(file string) (network.ConfList, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return network.ConfList{}, err
	}
	defaultName := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	list, err := network.ParseConfFile(raw, defaultName, readDropIns(filepath.Dir(file)))
	if err != nil {
		return list, fmt.Errorf("%s: %w; correct or remove the file", file, err)
	}
	return list, nil
}

func readPrimary(file string) (network.ConfList, error) {
	list, err := readConf(file)
	if err != nil {
		return list, fmt.Errorf("%w: %w", ErrNoPrimary, err)
	}
	return list, nil
}

// nameOf returns the CNI name in a file; empty if the file has no name.
func nameOf(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var head struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(raw, &head) != nil {
		return ""
	}
	return head.Name
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
