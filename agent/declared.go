package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/fsnotify/fsnotify"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/problem"
)

// objects are the objects of the cluster that the declared state is read from. If the API
// server has not answered since the agent's start, the memory is used instead.
type objects interface {
	// NodeLabels returns the node's labels; known is false until they have been read.
	NodeLabels() (labels map[string]string, known bool)
	// ConfigMap returns a ConfigMap's data; known is false until the API server has answered.
	ConfigMap(namespace, name string) (data map[string]string, exists, known bool)
}

// declared gathers everything that users declared for this node: profile files, the profiles
// ConfigMap, and the device plugin's configuration. An invalid edit changes nothing: the source
// it is in keeps its last valid content, even across restarts.
type declared struct {
	o       Options
	objects objects
	memory  *memory
	log     *slog.Logger

	begun    bool
	profiles parsedTexts[[]config.Declaration]
	pools    parsedTexts[[]device.Pool]
	model    lastGood[config.Model]
	builtFor map[string]string // the node's labels
	edits    int               // counts changes of the texts or labels that model was built from
}

// lastGood is the last valid value, and the error that kept a newer one from replacing it.
type lastGood[T any] struct {
	value T
	err   error
}

func (g *lastGood[T]) set(v T, err error) {
	if g.err = err; err == nil {
		g.value = v
	}
}

// parsedTexts is a value parsed from texts; err belongs to a newer reading.
type parsedTexts[T any] struct {
	lastGood[T]
	from texts
}

// recall puts the value that another agent has parsed from the texts in effect, if this one
// cannot parse them.
func (p *parsedTexts[T]) recall(from texts, value T) {
	if p.err != nil {
		p.value, p.from = value, from
	}
}

func (p *parsedTexts[T]) read(from texts, err error, parse func(texts) (T, error)) {
	if err != nil {
		p.err = err
		return
	}
	if p.set(parse(from)); p.err == nil {
		p.from = from
	}
}

// read reads all sources again and returns the model to work with. Each problem names a source
// whose last edit is not in effect, and why.
func (d *declared) read() (m config.Model, problems []problem.Problem) {
	labels := d.nodeLabels()
	d.recall(labels)
	from, err := d.readProfiles()
	d.profiles.read(from, err, d.parseProfiles)
	from, err = d.readPools()
	d.pools.read(from, err, d.parsePools)
	d.build(labels)
	if d.model.err == nil {
		oldTexts, oldLabels := d.memory.texts, d.builtFor
		d.memory.remember(parsed{Profiles: d.profiles.value, Pools: d.pools.value, Model: d.model.value}, d.profiles.from, d.pools.from)
		if !reflect.DeepEqual(oldTexts, d.memory.texts) || !maps.Equal(oldLabels, labels) {
			d.edits++
		}
		d.builtFor = labels
	}
	if err := d.memory.save(); err != nil {
		d.log.Warn("saving the declared state for the next start failed", "error", err)
	}
	for about, err := range map[string]error{"the profiles": d.profiles.err, "the device plugin's configuration": d.pools.err, "the configuration as a whole": d.model.err} {
		if err != nil {
			problems = append(problems, problem.Problem{Reason: problem.ConfigurationRefused, About: about,
				Text: fmt.Sprintf("%v (the last valid configuration stays in effect)", err)})
		}
	}
	slices.SortFunc(problems, func(a, b problem.Problem) int { return cmp.Compare(a.Text, b.Text) })
	return d.model.value, problems
}

// recall puts the configuration of the last run in effect at the start, so that it stays in
// effect if the current texts are invalid. Its errors are dropped: another version may have had
// other rules, and users can only correct the current texts. If these rules were less strict,
// the values that the other version had parsed stay in effect (devices C12).
func (d *declared) recall(labels map[string]string) {
	if d.begun {
		return
	}
	d.begun = true
	d.profiles.read(d.memory.texts, nil, d.parseProfiles)
	d.pools.read(d.memory.texts, nil, d.parsePools)
	last := d.memory.recalled()
	if last != nil {
		d.profiles.recall(d.memory.texts, last.Profiles)
		d.pools.recall(d.memory.texts, last.Pools)
	}
	d.build(labels)
	if last != nil && d.model.err != nil {
		d.model.value = last.Model
	}
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
	declarations, err := config.ParseProfiles(from.Files[d.o.ProfilesDir], d.o.ProfilesDir)
	fromConfigMap, configMapErr := config.ParseProfiles(from.ConfigMaps[d.o.ProfilesConfigMap], d.source(d.o.ProfilesConfigMap))
	return append(declarations, fromConfigMap...), errors.Join(err, configMapErr)
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
		if text, ok := data[d.o.NodeName]; ok && d.o.NodeName != "" { // as the SR-IOV operator writes it
			return d.parseResourceList(text, source+", key "+d.o.NodeName)
		}
		text, ok := data[poolsKey]
		if !ok {
			return nil, fmt.Errorf("%s has no key %s, nor one with the node's name %q; put the device plugin's resourceList there", source, poolsKey, d.o.NodeName)
		}
		return d.parseResourceList(text, source)
	}
	if file, ok := from.Files[d.o.DevicePluginConfig]; ok {
		return d.parseResourceList(file[poolsKey], d.o.DevicePluginConfig)
	}
	return nil, nil
}

func (d *declared) parseResourceList(text, source string) ([]device.Pool, error) {
	return config.ParseDevicePluginConfig([]byte(text), source, d.o.DevicePluginPrefix)
}

func (d *declared) source(configMap string) string {
	return "ConfigMap " + d.o.Namespace + "/" + configMap
}

// configMap returns the ConfigMap's data. Until the API server has answered once, that is the
// data that was last in effect.
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

// watchFiles calls changed after each change of the profile files or the device plugin's file,
// until ctx ends. If a directory does not exist yet, its parent is watched.
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
			d.watchDirs(w) // a directory may have been created
			changed()
		case err := <-w.Errors:
			d.log.Warn("watch of the configuration files failed; reading them again", "error", err)
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
