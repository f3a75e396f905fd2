// Package device has the commands that run on a device: `sekisho device …`, and
// all that there is of sekisho-device.
package device

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
)

// About says in a line what the commands are for.
const About = "what runs on a device: uploads, and credentials for its own programs"

// Commands are the words after `sekisho device`.
func Commands() []cli.Command {
	return []cli.Command{
		{Name: "credentials", Summary: "get S3 credentials for the programs of this device", Run: credentials},
		{Name: "upload", Args: "FILE…", Summary: "send files and say on MQTT that they are there", Run: upload},
		{Name: "watch", Args: "FOLDER", Summary: "send what comes into a folder, for as long as it runs", Run: watch},
	}
}

// cacheFolder is where sessions are kept unless --cache says another place.
func cacheFolder(t *cli.Terminal) (string, error) {
	// What systemd made for a service by CacheDirectory=.
	if dir, _, _ := strings.Cut(t.Getenv("CACHE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "credentials"), nil
	}
	if dir := t.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sekisho"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/sekisho", nil
	}
	if dir := t.Getenv("LocalAppData"); filepath.IsAbs(dir) { // Windows
		return filepath.Join(dir, "sekisho"), nil
	}
	if home := cmp.Or(t.Getenv("HOME"), t.Getenv("USERPROFILE")); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "sekisho"), nil
	}
	return "", errors.New("there is no home folder to keep the credentials in: name one by --cache")
}

// rootOnly is a folder that only root may use.
func rootOnly(dir string) string {
	if os.Geteuid() == 0 {
		return dir
	}
	return ""
}
