package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/quote"
)

// runtimeConf is the part of a plugin's conf that a pod's annotation fills.
type runtimeConf struct {
	MAC      string `json:"mac"`
	DeviceID string `json:"deviceID"`
}

// decode reads a conf. Its error names a field of the wrong JSON type as users write it.
func decode(raw json.RawMessage, into any) error {
	err := json.Unmarshal(raw, into)
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) && typeErr.Field != "" {
		return fmt.Errorf("field %q cannot be a %s", quote.Cut(typeErr.Field), quote.Plain(typeErr.Value))
	}
	if err != nil {
		return fmt.Errorf("the network's config is not valid JSON: %s", quote.Message(err))
	}
	return nil
}

// problems collects all errors of a conf, so that a user sees them at once.
type problems []string

// ownText is a value in a message that no tenant has written.
type ownText string

// add bounds the values that it gets, unless they are ownText: a tenant has written them
// (security S7).
func (p *problems) add(field, format string, args ...any) {
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			args[i] = quote.Cut(arg)
		case error:
			args[i] = quote.Message(arg)
		}
	}
	*p = append(*p, fmt.Sprintf("field %q: ", field)+fmt.Sprintf(format, args...))
}

// maxProblems bounds the errors of one text.
const maxProblems = 12

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	if left := len(p) - maxProblems; left > 0 {
		p = append(p[:maxProblems:maxProblems], fmt.Sprintf("and %d more", left))
	}
	return errors.New(strings.Join(p, "; "))
}

// chooseMAC picks the MAC by precedence (the annotation's capability, CNI_ARGS,
// the conf) and validates it. It is empty if none is asked for.
func (p *problems) chooseMAC(runtime, cniArgs, conf string) string {
	for _, from := range []struct{ field, mac string }{
		{"runtimeConfig.mac", runtime},
		{"CNI_ARGS MAC", argument(cniArgs, "MAC")},
		{"mac", conf},
	} {
		if from.mac != "" {
			return p.checkMAC(from.field, from.mac)
		}
	}
	return ""
}

func (p *problems) checkMAC(field, mac string) string {
	hw, err := net.ParseMAC(mac)
	switch {
	case err != nil || len(hw) != 6:
		p.add(field, "%q is no MAC address such as 02:00:00:12:34:56", mac)
	case hw[0]&1 != 0:
		p.add(field, "%s is a group address (the first byte is odd); an interface needs a unicast one", mac)
	case hw.String() == device.NoMAC:
		p.add(field, "all zero is no address; leave the field out to keep the interface's own")
	}
	return hw.String()
}

// checkMTU refuses an MTU that no link can have; 0 means "not asked for". 68 is the
// least that IPv4 works with (RFC 791), and the kernel's own limit.
func (p *problems) checkMTU(mtu int) {
	if mtu != 0 && mtu < 68 {
		p.add("mtu", "%d is below 68, the least that IP works with", mtu)
	}
}

// argument finds one value in CNI_ARGS ("K=V;K=V").
func argument(cniArgs, key string) string {
	for _, pair := range strings.Split(cniArgs, ";") {
		if k, v, _ := strings.Cut(pair, "="); strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// ignore reports a field that has no effect.
func (c Call) ignore(field, format string, args ...any) {
	if c.Ignored != nil {
		c.Ignored(field, fmt.Sprintf(format, args...))
	}
}
