// Package credential gets a device's S3 credentials from the credential
// provider, keeps them on disk, renews them in time, and hands them to programs
// on the device.
//
// Invariant: credentials with less than 15 minutes left are handed out only
// where the server gives none better (it does not answer, or its sessions are
// that short), and with less than a minute left never. Secrets are in the
// answer and in the cache file, and nowhere else.
package credential

import (
	"hash/fnv"
	"log/slog"
	"time"
)

// When a session is renewed and how long it is of use.
const (
	shortLife   = 30 * time.Minute // sessions up to it are renewed when a third is over
	renewalLeft = 20 * time.Minute // longer ones when this, or a third, is left
	floorLeft   = 15 * time.Minute // none with less is handed out while the server answers
	lastLeft    = time.Minute      // nor with less than this while it does not
)

// Session is what the credential provider gave.
type Session struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time // by the server's clock

	Obtained time.Time // by the server's clock
	Fetched  time.Time // the same moment by the device's clock
}

// String tells which session it is, without its secrets.
func (s *Session) String() string { return s.AccessKeyID }

// LogValue tells which session it is, without its secrets.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.AccessKeyID) }

// Offset is the server's time minus the device's when the session was obtained.
func (s *Session) Offset() time.Duration { return s.Obtained.Sub(s.Fetched) }

// LocalExpiration is when the session ends by the device's clock, which is what
// programs on the device compare it with.
func (s *Session) LocalExpiration() time.Time { return s.Expiration.Add(-s.Offset()) }

// left is for how long the session is of use at the device's time now; nothing
// where that time cannot be, since the clock was set in the meantime.
func (s *Session) left(now time.Time) time.Duration {
	// The monotonic clock stands still while a device sleeps, the other one jumps
	// when it is set: whichever says that more time has passed is believed.
	wall := now.Round(0).Sub(s.Fetched.Round(0))
	if wall < -time.Second {
		return 0
	}
	return s.Expiration.Sub(s.Obtained) - max(now.Sub(s.Fetched), wall, 0)
}

// fresh says that there is no reason to ask the server.
func (s *Session) fresh(now time.Time) bool {
	left, life := s.left(now), s.Expiration.Sub(s.Obtained)
	if life <= shortLife {
		return left > life-spread(life/3, s.AccessKeyID)
	}
	return left > max(spread(max(renewalLeft, life/3), s.AccessKeyID), floorLeft)
}

// good says that the session may be handed out while the server could be asked.
func (s *Session) good(now time.Time) bool {
	return s.fresh(now) || s.Expiration.Sub(s.Obtained) > shortLife && s.left(now) >= floorLeft
}

// usable says that the session may be handed out while the server does not answer.
func (s *Session) usable(now time.Time) bool { return s.left(now) > lastLeft }

// spread moves d by up to a tenth, so that a fleet which was switched on at once
// does not come back at once. The key decides, so that all processes of a device agree.
func spread(d time.Duration, key string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return d + d*(time.Duration(h.Sum32()%2001)-1000)/10000
}
