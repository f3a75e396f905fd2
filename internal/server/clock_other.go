//go:build !linux

package server

import "time"

func clockSynchronized() (synchronized, known bool) { return false, false }

func hardwareClock() (time.Time, bool) { return time.Time{}, false }
