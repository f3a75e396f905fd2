//go:build e2e && soak

package e2e_test

import (
	"testing"
	"time"
)

// TestSoakDeviceFaults is TestDeviceFaults for ten minutes and with 500 files.
func TestSoakDeviceFaults(t *testing.T) { testDeviceFaults(t, 500, 10*time.Minute) }
