package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

// Features asks by ioctl, which names a link of the calling thread's namespace.
func (h handle) Features(name string) ([]string, error) {
	on := []string{}
	err := h.ethtool(func(e *ethtool.Ethtool) error {
		features, err := e.FeaturesWithState(name)
		for feature, state := range features {
			if state.Active && state.Available && !state.NeverChanged {
				on = append(on, feature)
			}
		}
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // the driver has no features
	}
	if err != nil {
		return nil, fmt.Errorf("read the features of %s: %w", name, err)
	}
	slices.Sort(on)
	return on, nil
}

func (h handle) SetFeatures(name string, on map[string]bool) error {
	err := h.ethtool(func(e *ethtool.Ethtool) error { return e.Change(name, on) })
	if err != nil {
		return fmt.Errorf("set features of %s: %w", name, err)
	}
	return nil
}

func (h handle) ethtool(fn func(*ethtool.Ethtool) error) error {
	return h.Do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		return fn(e)
	})
}
