// Package examples embeds the YAML that users apply, so that the tests run the same files
// that the documentation shows. It has nothing else.
//
// The pods' image (Image) is a public one with ip, ping and iperf3. A test that
// has another image replaces that text, and changes nothing else in a file unless
// it says so.
package examples

import "embed"

// Image is the image of every pod in the examples.
const Image = "nicolaka/netshoot:v0.13"

// Files are scenarios/*.yaml, profiles/*.yaml, policies/*.yaml, pods/*.yaml and
// device-plugin/*.yaml.
//
//go:embed scenarios profiles policies pods device-plugin
var Files embed.FS
