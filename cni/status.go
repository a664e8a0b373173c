package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/network"
)

// status reports whatever keeps an ADD from working: no primary network, caches that are
// not filled, a plugin's binary that is missing, or an error of a plugin's own STATUS.
func status(ctx context.Context, o Options, c *call) error {
	var errs []error
	if err := o.Cluster.Ready(); err != nil {
		errs = append(errs, err)
	}
	list, err := o.Primary.Conf()
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, primaryStatus(ctx, c, list))
	}
	if err := errors.Join(errs...); err != nil {
		return failed("check readiness", types.ErrPluginNotAvailable, err)
	}
	return nil
}

// primaryStatus asks each plugin for its STATUS, which came with 1.1.0; an older
// one for its VERSION, which at least shows that it is installed.
func primaryStatus(ctx context.Context, c *call, list network.ConfList) error {
	hasStatus, err := version.GreaterThanOrEqualTo(list.CNIVersion, "1.1.0")
	if err != nil {
		return err
	}
	for i, p := range list.Plugins {
		if hasStatus {
			err = runNodeCommand(ctx, c, "STATUS", list, i, nil)
		} else {
			_, err = invoke.GetVersionInfo(ctx, p.Type, pathExec{c.exec, c.path})
		}
		if err != nil {
			return fmt.Errorf("primary network %s: %w", list.Name, err)
		}
	}
	return nil
}

// pathExec sets CNI_PATH, which libcni's VERSION call leaves at a dummy.
type pathExec struct {
	invoke.Exec
	path string
}

func (e pathExec) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	env := slices.DeleteFunc(cniEnv(environ), func(v string) bool { return strings.HasPrefix(v, "CNI_PATH=") })
	return execByName(ctx, e.Exec, plugin, stdin, append(env, "CNI_PATH="+e.path))
}
