package kube

import (
	"log/slog"

	"k8s.io/klog/v2"
)

// LogTo makes client-go write to log. Its logger is the process's, so a program calls LogTo once,
// before anything else of this package.
func LogTo(log *slog.Logger) { klog.SetSlogLogger(log) }
