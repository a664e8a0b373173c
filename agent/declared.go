package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"

	"github.com/fsnotify/fsnotify"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// objects is what the declared state needs of the cluster. What is not known yet
// (the API server is away since the agent's start) is taken from the memory.
type objects interface {
	// NodeLabels gives the node's labels; known is false until they have been read.
	NodeLabels() (labels map[string]string, known bool)
	// ConfigMap gives a ConfigMap's data; known is false until it has been looked for.
	ConfigMap(namespace, name string) (data map[string]string, exists, known bool)
}

// declared gathers what users declared for this node: profile files, the profiles
// ConfigMap, and the device plugin's configuration. An edit that is not valid
// changes nothing: the part it is in keeps its last good content, over a restart too.
type declared struct {
	o       Options
	objects objects
	memory  *memory
	log     *slog.Logger

	recalled bool
	profiles part[[]config.Declaration]
	pools    part[[]device.Pool]
	model    lastGood[config.Model]
	builtFor map[string]string // the node's labels
	edits    int               // how often the texts or the labels that model is made of have changed
}

// lastGood is a value with the error, if any, that keeps a newer one from taking its place.
type lastGood[T any] struct {
	value T
	err   error
}

func (g *lastGood[T]) set(v T, err error) {
	if g.err = err; err == nil {
		g.value = v
	}
}

// part is a value that was read from texts; err is of a newer reading.
type part[T any] struct {
	lastGood[T]
	from texts
}

func (p *part[T]) read(from texts, err error, parse func(texts) (T, error)) {
	if err != nil {
		p.err = err
		return
	}
	if p.set(parse(from)); p.err == nil {
		p.from = from
	}
}

// read reads everything anew and returns the model to work with. The problems say
// which parts are older than what users declared, and why.
func (d *declared) read() (m config.Model, problems []string) {
	labels := d.nodeLabels()
	d.recall(labels)
	from, err := d.readProfiles()
	d.profiles.read(from, err, d.parseProfiles)
	from, err = d.readPools()
	d.pools.read(from, err, d.parsePools)
	d.build(labels)
	if d.model.err == nil {
		before, beforeLabels := d.memory.texts, d.builtFor
		d.memory.remember(d.profiles.from, d.pools.from)
		if !reflect.DeepEqual(before, d.memory.texts) || !maps.Equal(beforeLabels, labels) {
			d.edits++
		}
		d.builtFor = labels
	}
	if err := d.memory.save(); err != nil {
		d.log.Warn("the declared state cannot be remembered for the next start", "error", err)
	}
	for _, err := range []error{d.profiles.err, d.pools.err, d.model.err} {
		if err != nil {
			problems = append(problems, fmt.Sprintf("%v (the last valid configuration stays in force)", err))
		}
	}
	return d.model.value, problems
}

// recall puts into force, at the start, what was in force before: should the texts
// be invalid now, it is what stays. Errors are those of another version's rules;
// those of the texts of now are what a user can mend.
func (d *declared) recall(labels map[string]string) {
	if d.recalled {
		return
	}
	d.recalled = true
	d.profiles.read(d.memory.texts, nil, d.parseProfiles)
	d.pools.read(d.memory.texts, nil, d.parsePools)
	d.build(labels)
}

func (d *declared) build(labels map[string]string) {
	d.model.set(config.BuildKeeping(d.memory.Governed, d.profiles.value, d.pools.value, labels, d.o.ResourcePrefix))
}

func (d *declared) readProfiles() (texts, error) {
	from := newTexts()
	files, err := config.ReadProfiles(d.o.ProfilesDir)
	if len(files) > 0 {
		from.Files[d.o.ProfilesDir] = files
	}
	if data, ok := d.configMap(d.o.ProfilesConfigMap); ok {
		from.ConfigMaps[d.o.ProfilesConfigMap] = data
	}
	return from, err
}

func (d *declared) parseProfiles(from texts) ([]config.Declaration, error) {
	all, err := config.ParseProfiles(from.Files[d.o.ProfilesDir], d.o.ProfilesDir)
	more, moreErr := config.ParseProfiles(from.ConfigMaps[d.o.ProfilesConfigMap], d.source(d.o.ProfilesConfigMap))
	return append(all, more...), errors.Join(err, moreErr)
}

// readPools reads the device plugin's configuration: the ConfigMap, or else the file.
func (d *declared) readPools() (texts, error) {
	from := newTexts()
	if data, ok := d.configMap(d.o.DevicePluginConfigMap); ok {
		from.ConfigMaps[d.o.DevicePluginConfigMap] = data
		return from, nil
	}
	if d.o.DevicePluginConfig == "" {
		return from, nil
	}
	data, err := os.ReadFile(d.o.DevicePluginConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return from, nil
	case err != nil:
		return from, fmt.Errorf("read the device plugin's configuration: %w", err)
	}
	from.Files[d.o.DevicePluginConfig] = map[string]string{poolsKey: string(data)}
	return from, nil
}

// poolsKey is the key of the device plugin's ConfigMap.
const poolsKey = "config.json"

func (d *declared) parsePools(from texts) ([]device.Pool, error) {
	if data, ok := from.ConfigMaps[d.o.DevicePluginConfigMap]; ok {
		source := d.source(d.o.DevicePluginConfigMap)
		text, ok := data[poolsKey]
		if !ok {
			return nil, fmt.Errorf("%s has no key %s; put the device plugin's resourceList there", source, poolsKey)
		}
		return config.ParseDevicePluginConfig([]byte(text), source)
	}
	if file, ok := from.Files[d.o.DevicePluginConfig]; ok {
		return config.ParseDevicePluginConfig([]byte(file[poolsKey]), d.o.DevicePluginConfig)
	}
	return nil, nil
}

func (d *declared) source(configMap string) string {
	return "ConfigMap " + d.o.Namespace + "/" + configMap
}

// configMap is the ConfigMap's data as the API server has it or, until it has
// answered once, as it was when it was last in force.
func (d *declared) configMap(name string) (map[string]string, bool) {
	if name == "" {
		return nil, false
	}
	data, exists, known := d.objects.ConfigMap(d.o.Namespace, name)
	if !known {
		data, exists = d.memory.ConfigMaps[name]
	}
	return data, exists
}

func (d *declared) nodeLabels() map[string]string {
	labels, known := d.objects.NodeLabels()
	if !known {
		return d.memory.NodeLabels
	}
	d.memory.NodeLabels = labels
	return labels
}

// watchFiles calls changed after each change of the profile files and the device
// plugin's file, until ctx ends. A directory that is not there yet is waited for
// in its parent.
func (d *declared) watchFiles(ctx context.Context, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the configuration files: %w", err)
	}
	defer w.Close()
	d.watchDirs(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			d.watchDirs(w) // a directory may have been made, or made anew
			changed()
		case err := <-w.Errors:
			d.log.Warn("watching the configuration files", "error", err)
			changed()
		}
	}
}

func (d *declared) watchDirs(w *fsnotify.Watcher) {
	for _, dir := range []string{d.o.ProfilesDir, d.o.PoliciesDir, filepath.Dir(d.o.DevicePluginConfig)} {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if w.Add(dir) == nil {
				break
			}
		}
	}
}
