package attach

import (
	"strconv"
	"strings"
)

// AdvertisedMetric is the metric of default routes that the kernel makes from router
// advertisements on a secondary interface. Those of the primary, and the routes that
// programs add without a metric, have 1024: they come first.
const AdvertisedMetric = 2048

const metricKey = "/ra_defrtr_metric"

// advertisedBehind is the sysctl that sets it for an interface. The advertised addresses
// and prefixes stay: networks without an ipam may live on them.
func advertisedBehind(ifName string) sysctl {
	return sysctl{"ipv6/conf/" + ifName + metricKey, strconv.Itoa(AdvertisedMetric)}
}

// older returns the sysctl that stands in for one that the kernel does not have. Kernels
// before 5.12 have no such metric: there, no default route is taken from advertisements.
func (s sysctl) older() (sysctl, bool) {
	before, ok := strings.CutSuffix(s.key, metricKey)
	return sysctl{before + "/accept_ra_defrtr", "0"}, ok
}

// PutAdvertisedBehind sets AdvertisedMetric for an interface of a program, in the namespace of
// the calling thread. A route that is there already gets it by the next advertisement.
func PutAdvertisedBehind(ifName string) error { return advertisedBehind(ifName).write() }
