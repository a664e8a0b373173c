package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

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
// changes nothing: the part it is in keeps its last good content.
type declared struct {
	o       Options
	objects objects
	memory  *memory
	log     *slog.Logger

	profiles lastGood[[]config.Declaration]
	pools    lastGood[[]device.Pool]
	model    lastGood[config.Model]
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

// read reads everything anew and returns the model to work with. The problems say
// which parts are older than what users declared, and why.
func (d *declared) read() (m config.Model, problems []string) {
	d.profiles.set(d.readProfiles())
	d.pools.set(d.readPools())
	labels := d.nodeLabels()
	if err := d.memory.save(); err != nil {
		d.log.Warn("the declared state cannot be remembered for a start without API server", "error", err)
	}
	d.model.set(config.Build(d.profiles.value, d.pools.value, labels, d.o.ResourcePrefix))
	for _, err := range []error{d.profiles.err, d.pools.err, d.model.err} {
		if err != nil {
			problems = append(problems, fmt.Sprintf("%v (the last valid configuration stays in force)", err))
		}
	}
	return d.model.value, problems
}

func (d *declared) readProfiles() ([]config.Declaration, error) {
	all, err := config.LoadProfiles(d.o.ProfilesDir)
	if err != nil {
		return nil, err
	}
	if d.o.ProfilesConfigMap == "" {
		return all, nil
	}
	data, ok := d.configMap(d.o.ProfilesConfigMap)
	if !ok {
		return all, nil
	}
	more, err := config.ParseProfiles(data, "ConfigMap "+d.o.Namespace+"/"+d.o.ProfilesConfigMap)
	return append(all, more...), err
}

// readPools reads the device plugin's configuration: the ConfigMap, or else the file.
func (d *declared) readPools() ([]device.Pool, error) {
	if d.o.DevicePluginConfigMap != "" {
		source := "ConfigMap " + d.o.Namespace + "/" + d.o.DevicePluginConfigMap
		if data, ok := d.configMap(d.o.DevicePluginConfigMap); ok {
			text, ok := data["config.json"]
			if !ok {
				return nil, fmt.Errorf("%s has no key config.json; put the device plugin's resourceList there", source)
			}
			return config.ParseDevicePluginConfig([]byte(text), source)
		}
	}
	if d.o.DevicePluginConfig == "" {
		return nil, nil
	}
	data, err := os.ReadFile(d.o.DevicePluginConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the device plugin's configuration: %w", err)
	}
	return config.ParseDevicePluginConfig(data, d.o.DevicePluginConfig)
}

// configMap is the ConfigMap's data as the API server has it or, until it has
// answered once, as it was when it last did.
func (d *declared) configMap(name string) (map[string]string, bool) {
	data, exists, known := d.objects.ConfigMap(d.o.Namespace, name)
	if !known {
		data, exists = d.memory.ConfigMaps[name]
		return data, exists
	}
	if exists {
		d.memory.ConfigMaps[name] = data
	} else {
		delete(d.memory.ConfigMaps, name)
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
	for _, dir := range []string{d.o.ProfilesDir, filepath.Dir(d.o.DevicePluginConfig)} {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if w.Add(dir) == nil {
				break
			}
		}
	}
}
