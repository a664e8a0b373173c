package network

// MaxSize bounds Definition.Size of a net-attach-def that is within the limits: the keys of each
// plugin and of its capabilities.
const MaxSize = MaxConfigBytes + MaxMembers*(2*MaxKeys*keySize+pluginSize) + definitionSize

// Rough sizes of the parts of a parsed config, in bytes. A test compares them with the heap.
const (
	definitionSize = 1 << 10
	pluginSize     = 512
	keySize        = 128 // one key of a map, without the texts of key and value
)

// Size estimates the memory of a definition, in bytes. It is an upper bound, which caches and
// the limit of ADDs at once count with.
func (d Definition) Size() int {
	bytes := definitionSize + len(d.Namespace) + len(d.Name) + len(d.Resource) + len(d.List.Name)
	for _, notice := range d.List.Notices {
		bytes += len(notice)
	}
	for _, p := range d.List.Plugins {
		bytes += pluginSize + len(p.Type) + len(p.Capabilities)*keySize
		for key, value := range p.Fields {
			bytes += keySize + len(key) + len(value)
		}
	}
	return bytes
}

// configBytes returns the bytes of the texts of the plugins' configs.
func (d Definition) configBytes() int {
	bytes := 0
	for _, p := range d.List.Plugins {
		for key, value := range p.Fields {
			bytes += len(key) + len(value)
		}
	}
	return bytes
}
