// Package settings is what an administrator has decided for the FlexVolume drivers
// of a node: where the kubelet's directory is, what lvm may touch, where the log
// goes. The kubelet gives a driver no arguments of that kind, so they lie in a file
// beside the executable, whose name begins with a dot, because the kubelet takes
// every other new file there for a new driver.
package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is the name of the file, in the directory of each installed driver.
const File = ".hostvol-flex.json"

// Journal is the value of Log for the journal of systemd.
const Journal = "journald"

// Settings of the drivers. The zero value has all defaults, which Complete fills in.
type Settings struct {
	// KubeletDir is the kubelet's --root-dir; default /var/lib/kubelet. Nothing is
	// mounted or unmounted outside of it.
	KubeletDir string `json:"kubeletDir,omitempty"`
	// Socket is the path of the daemon's flexEndpoint, which local asks; default
	// plugins/hostvol.csi.io/flex.sock below KubeletDir.
	Socket string `json:"socket,omitempty"`
	// Log is the absolute path of a file, "journald", or "" for none.
	Log string `json:"log,omitempty"`
	// Timeout is how long one call may take, such as "1m30s"; default 60s. What is
	// not done by then is undone, and the kubelet tries again.
	Timeout Duration `json:"timeout,omitzero"`
	// LVM are those of the lvm driver.
	LVM LVM `json:"lvm,omitzero"`
}

// LVM are the settings of the lvm driver.
type LVM struct {
	// Groups are the volume groups whose volumes pods may have; none is allowed when
	// there is none, since one of them may hold the node's own root.
	Groups []string `json:"groups,omitempty"`
	// Create allows a logical volume to be made for a pod that gives a size.
	Create bool `json:"create,omitempty"`
	// Attach has the controller manager and the kubelet go through attach and
	// mountdevice. Then the executable must be installed beside both.
	Attach bool `json:"attach,omitempty"`
}

// Duration is a time.Duration that is text in JSON.
type Duration struct{ time.Duration }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	err := json.Unmarshal(data, &text)
	if err == nil {
		d.Duration, err = time.ParseDuration(text)
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// Read reads the file of a driver's directory, and fills in the defaults. A file
// that is not there has none but defaults. A field that is not known is one of a
// newer version, whose executable is about to follow, and is passed over.
func Read(dir string) (Settings, error) {
	var s Settings
	path := filepath.Join(dir, File)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return s, fmt.Errorf("read settings: %w", err)
	default:
		if err := json.Unmarshal(data, &s); err != nil {
			return s, fmt.Errorf("settings %s: %w; install the driver again", path, err)
		}
	}
	s.Complete()
	return s, s.Check()
}

// Complete fills in the defaults.
func (s *Settings) Complete() {
	if s.KubeletDir == "" {
		s.KubeletDir = "/var/lib/kubelet"
	}
	if s.Socket == "" {
		s.Socket = filepath.Join(s.KubeletDir, "plugins/hostvol.csi.io/flex.sock")
	}
	if s.Timeout.Duration == 0 {
		s.Timeout.Duration = time.Minute
	}
}

// Check tells what is wrong with complete settings.
func (s *Settings) Check() error {
	switch {
	case !clean(s.KubeletDir) || s.KubeletDir == "/":
		return fmt.Errorf("kubeletDir %q is not an absolute, clean path of a directory", s.KubeletDir)
	case !clean(s.Socket):
		return fmt.Errorf("socket %q is not an absolute, clean path", s.Socket)
	case s.Log != "" && s.Log != Journal && !clean(s.Log):
		return fmt.Errorf("log %q is neither %s nor an absolute, clean path", s.Log, Journal)
	case s.Timeout.Duration < time.Second || s.Timeout.Duration > time.Hour:
		return fmt.Errorf("timeout %s is not between 1s and 1h", s.Timeout.Duration)
	}
	for _, group := range s.LVM.Groups {
		if group == "" || strings.ContainsAny(group, "/, \t\n") || group[0] == '-' {
			return fmt.Errorf("%q is not the name of a volume group", group)
		}
	}
	return nil
}

func clean(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }
