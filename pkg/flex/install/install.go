// Package install puts the drivers where the kubelet looks for FlexVolume drivers,
// and takes them away, while it looks: DIR/<vendor>~<driver>/<driver> is the
// executable, settings.File beside it says what the administrator has decided.
//
// The kubelet watches DIR, and calls `init` of what has changed: of a new directory,
// of a file that is made, written or renamed in one. Names that begin with a dot it
// ignores. So everything is made under such a name, and shown by one rename; what it
// has shown is whole. The package knows nothing of what a driver does.
package install

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/program"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// DefaultDir is the default of the kubelet's --volume-plugin-dir.
const DefaultDir = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"

// DefaultVendor is the part before the slash in a manifest's hostvol/local.
const DefaultVendor = "hostvol"

// Drivers are those that the executable serves.
func Drivers() []string { return []string{"local", "nfs", "cifs", "lvm"} }

var (
	// ErrForeign means that something lies under the name of a driver that is not
	// of hostvol.
	ErrForeign = errors.New("it is not of hostvol")
	// ErrMounted means that pods have volumes of the driver.
	ErrMounted = errors.New("volumes of the driver are mounted")
	// ErrRemoved means that the plugin directory was removed while it was open; in a
	// container it comes back with a new container only.
	ErrRemoved = errors.New("the directory was removed")
)

// Options say what is installed where.
type Options struct {
	// Dir is the kubelet's plugin directory, absolute; it must exist.
	Dir    string
	Vendor string
	// Drivers by name; what is not named is neither installed nor removed.
	Drivers []string
	// Program is the executable to install, open: the running one, see Self.
	Program *os.File
	// Settings as given; what is not given has its default whenever they are read.
	Settings settings.Settings
	// KubeletDir is where Uninstall looks for mounted volumes; "" for that of the
	// settings that were installed.
	KubeletDir string
	// Force replaces another's executable, which is kept under a dot-name, and
	// uninstalls a driver whose volumes are mounted.
	Force bool
	// Step is called with the name of each durable step; nil in production.
	Step func(string)
}

// Done is what became of one driver.
type Done struct {
	// Driver as manifests name it: vendor/driver.
	Driver string
	// Settings and Program tell what was written, Removed what was taken away.
	Settings, Program, Removed bool
	// Notes are for a person.
	Notes []string
}

// Installer installs and uninstalls. It remembers what it has compared, so that to
// look again costs a few stats. It is not safe for concurrent use; any number of
// them, in any process, is.
type Installer struct {
	Options
	self     string // the main package of Program, by which others of ours are known
	bytes    int64
	settings []byte
	owner    uint32
	seen     map[string]program.State
	// renewed are the executables that this installer has put there.
	renewed map[string]bool
}

// Self opens the running executable: not by its path, where another may lie by now.
func Self() (*os.File, error) { return os.Open("/proc/self/exe") }

// New checks the options; nothing is written yet.
func New(o Options) (*Installer, error) {
	if !isVendor(o.Vendor) {
		return nil, fmt.Errorf("vendor %q is not a name of lower-case letters, digits, dots and dashes", o.Vendor)
	}
	if len(o.Drivers) == 0 {
		return nil, errors.New("no driver is named")
	}
	for n, driver := range o.Drivers {
		if !slices.Contains(Drivers(), driver) {
			return nil, fmt.Errorf("there is no driver %q; there are %s", driver, strings.Join(Drivers(), ", "))
		}
		if slices.Contains(o.Drivers[:n], driver) {
			return nil, fmt.Errorf("driver %s is named twice", driver)
		}
	}
	if o.Program == nil {
		return nil, errors.New("no program is given")
	}
	complete := o.Settings
	complete.Complete()
	if err := complete.Check(); err != nil {
		return nil, err
	}
	text, err := encode(o.Settings)
	if err != nil {
		return nil, err
	}
	build, err := buildinfo.Read(o.Program)
	if err != nil {
		return nil, fmt.Errorf("read what %s was built from: %w", o.Program.Name(), err)
	}
	info, err := o.Program.Stat()
	if err != nil {
		return nil, err
	}
	return &Installer{
		Options: o, self: build.Path, bytes: info.Size(), settings: text,
		owner: uint32(os.Geteuid()), //nolint:gosec // an id
		seen:  map[string]program.State{}, renewed: map[string]bool{},
	}, nil
}

// isVendor tells a name like one of DNS; a tilde or a slash would divide it, a dot at
// its beginning would hide it.
func isVendor(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, ".-") == name &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// content is Program from its beginning.
func (i *Installer) content() io.Reader { return io.NewSectionReader(i.Program, 0, i.bytes) }

func (i *Installer) step(name string) {
	if i.Step != nil {
		i.Step(name)
	}
}

// Install brings all drivers to the state that is asked for. What is in that state
// already is not touched. One that fails does not keep the others from being
// installed; it is as it was, or whole. Repeated after any end, it goes on.
func (i *Installer) Install(ctx context.Context) ([]Done, error) { return i.each(ctx, i.installOne) }

// each does something with each driver, under the lock of the plugin directory.
func (i *Installer) each(ctx context.Context, do func(*safepath.Dir, string) (Done, error)) (all []Done, err error) {
	root, err := safepath.OpenRoot(i.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: name the kubelet's --volume-plugin-dir as --plugin-dir; a kubelet that runs has made it", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, removed, err := program.LookAt(root); err != nil || removed {
		return nil, errors.Join(err, fmt.Errorf("%s: %w", i.Dir, ErrRemoved))
	}
	unlock, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	notes, err := i.clean(root)
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("clear up what an earlier run has left: %w", err))
	}
	for n, driver := range i.Drivers {
		done, err := do(root, driver)
		done.Driver = i.Vendor + "/" + driver
		if n == 0 {
			done.Notes = append(notes, done.Notes...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", done.Driver, hint(err)))
			continue
		}
		all = append(all, done)
	}
	return all, errors.Join(errs...)
}

// patience is how long another one at work is waited for.
const patience = 30 * time.Second

func lock(ctx context.Context, root *safepath.Dir) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		unlock, err := program.Lock(root)
		if !errors.Is(err, safepath.ErrLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; another hostvol-flex is at work there", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// hint adds what to do about an error.
func hint(err error) error {
	switch {
	case errno.ReadOnly(err):
		return fmt.Errorf("%w; where the system is read-only, give the kubelet a --volume-plugin-dir that is not, and the same as --plugin-dir", err)
	case errno.NoSpace(err):
		return fmt.Errorf("%w; make room, and install again", err)
	}
	return err
}

// directory is the name of a driver's directory.
func (i *Installer) directory(driver string) string { return i.Vendor + "~" + driver }
