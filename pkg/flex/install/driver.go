package install

import (
	"bytes"
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/program"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// mode of an executable; settings are for root only.
const (
	mode         = fs.FileMode(0o755)
	settingsMode = fs.FileMode(0o600)
)

// fresh is the name under which a file is made that is to be called name.
func fresh(name string) string { return "." + strings.TrimPrefix(name, ".") + ".new" }

// replaced is the name under which another's executable is kept.
func replaced(driver string) string { return "." + driver + ".replaced" }

func encode(s settings.Settings) ([]byte, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func (i *Installer) installOne(root *safepath.Dir, driver string) (Done, error) {
	if none, err := program.NoExec(root); err != nil || none {
		return Done{}, errors.Join(err, fmt.Errorf("%s is mounted noexec: the kubelet cannot start a driver there", root.Name()))
	}
	d, err := openDriver(root, i.directory(driver))
	if errors.Is(err, fs.ErrNotExist) {
		return Done{Settings: true, Program: true}, i.make(root, driver)
	}
	if err != nil {
		return Done{}, err
	}
	done, err := i.update(d, driver)
	return done, errors.Join(err, d.Close())
}

// openDriver opens a driver's directory. A link is none: the kubelet, which takes
// directories only, would not find the driver after its next start.
func openDriver(root *safepath.Dir, name string) (*safepath.Dir, error) {
	d, err := root.OpenDir(name)
	if errno.Link(err) {
		return nil, fmt.Errorf("%w: %s/%s is not a directory; move it away", ErrForeign, root.Name(), name)
	}
	return d, err
}

// make makes a driver's directory with all that belongs in it, and then shows it.
// An empty directory, which the kubelet would take for a driver that fails, is never
// seen.
func (i *Installer) make(root *safepath.Dir, driver string) (err error) {
	shown := false
	stage := stagePrefix + i.directory(driver) + "." + rand.Text()[:8]
	if err := root.Mkdir(stage, 0o700); err != nil {
		return err
	}
	i.step("made")
	d, err := root.OpenDir(stage)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, d.Close()); err != nil && !shown {
			_, undo := i.discard(root, stage)
			err = errors.Join(err, undo)
		}
	}()
	if err := program.Write(d, settings.File, bytes.NewReader(i.settings), settingsMode); err != nil {
		return err
	}
	i.step("made settings")
	if err := program.Write(d, driver, i.content(), mode); err != nil {
		return err
	}
	i.step("made program")
	if err := errors.Join(d.Chmod(uint32(mode)), d.Sync()); err != nil {
		return err
	}
	i.step("made durable")
	if err := root.Rename(stage, root, i.directory(driver)); err != nil {
		return err
	}
	shown = true
	i.step("shown")
	return errors.Join(root.Sync(), i.remember(d, driver))
}

// update brings a driver's directory that exists to the state that is asked for.
// Settings come first, so that no executable ever runs without them.
func (i *Installer) update(d *safepath.Dir, driver string) (done Done, err error) {
	at, _, err := program.LookAt(d)
	if err != nil {
		return done, err
	}
	if at.Owner != i.owner {
		return done, fmt.Errorf("%s belongs to user %d, who could have the kubelet run what he likes: chown it to root first", d.Name(), at.Owner)
	}
	now, err := i.look(d, driver)
	if err != nil {
		return done, err
	}
	// What this installer has put there itself, and finds replaced, it repairs.
	if _, was := i.seen[i.directory(driver)]; now.foreign && !i.Force && !was {
		return done, fmt.Errorf("%w: %s/%s; --force puts hostvol's in its place and keeps it as %s", ErrForeign, d.Name(), driver, replaced(driver))
	}
	if at.Mode.Perm()&0o022 != 0 { // others could replace it, too
		if err := d.Chmod(uint32(mode)); err != nil {
			return done, err
		}
	}
	if err := i.sweep(d, driver); err != nil {
		return done, err
	}
	if done.Settings, err = i.updateSettings(d); err != nil {
		return done, err
	}
	if now.same && !done.Settings {
		asked, err := i.asked(d, driver)
		if err != nil || asked || i.renewed[i.directory(driver)] { // the clock may have been set back
			return done, err
		}
	}
	if now.foreign {
		if err := keep(d, driver); err != nil {
			return done, err
		}
		i.step("kept")
		done.Notes = append(done.Notes, fmt.Sprintf("what lay at %s/%s before is kept as %s", d.Name(), driver, replaced(driver)))
	}
	done.Program = true
	if err := i.put(d, driver, i.content(), mode); err != nil {
		return done, err
	}
	i.renewed[i.directory(driver)] = true
	return done, i.remember(d, driver)
}

// asked tells whether the executable is newer than its settings. They are part of
// what init answers, and the kubelet calls that only when an executable is new.
func (i *Installer) asked(d *safepath.Dir, driver string) (bool, error) {
	of, err := program.Look(d, settings.File)
	if err != nil {
		return false, err
	}
	is, err := program.Look(d, driver)
	return !is.Before(of), err
}

// put puts a file into a driver's directory, over what is there.
func (i *Installer) put(d *safepath.Dir, name string, content io.Reader, mode fs.FileMode) error {
	if err := program.Write(d, fresh(name), content, mode); err != nil {
		return err
	}
	i.step("written " + name)
	if err := d.Replace(fresh(name), name); err != nil {
		return errors.Join(err, d.Unlink(fresh(name)))
	}
	i.step("replaced " + name)
	return d.Sync()
}

func (i *Installer) updateSettings(d *safepath.Dir) (written bool, err error) {
	now, err := program.Look(d, settings.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case now.Mode.IsDir():
		return false, fmt.Errorf("%w: %s/%s is a directory; move it away", ErrForeign, d.Name(), settings.File)
	case now.Mode == settingsMode && now.Owner == i.owner && now.Bytes == int64(len(i.settings)):
		text, err := d.ReadFile(settings.File, now.Bytes)
		if err != nil || bytes.Equal(text, i.settings) {
			return false, err
		}
	}
	return true, i.put(d, settings.File, bytes.NewReader(i.settings), settingsMode)
}

// remember notes the state of what was just put there.
func (i *Installer) remember(d *safepath.Dir, driver string) error {
	now, err := program.Look(d, driver)
	if err == nil {
		i.seen[i.directory(driver)] = now
	}
	return err
}

// executable is what lies at the place of a driver's executable.
type executable struct{ there, foreign, same bool }

func (i *Installer) look(d *safepath.Dir, driver string) (executable, error) {
	now, err := program.Look(d, driver)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return executable{}, nil
	case err != nil:
		return executable{}, err
	case now.Mode.IsDir():
		return executable{}, fmt.Errorf("%w: %s/%s is a directory; move it away", ErrForeign, d.Name(), driver)
	case !now.Mode.IsRegular():
		return executable{there: true, foreign: true}, nil
	}
	key := i.directory(driver)
	if seen, ok := i.seen[key]; ok && seen == now {
		return executable{there: true, same: true}, nil
	}
	f, err := d.Open(driver, 0, 0)
	if err != nil {
		return executable{}, err
	}
	defer f.Close() //nolint:errcheck // read only
	found := executable{there: true}
	build, err := buildinfo.Read(f)
	found.foreign = err != nil || build.Path != i.self
	if found.foreign || now.Mode != mode || now.Owner != i.owner || now.Bytes != i.bytes {
		return found, nil
	}
	found.same, err = equal(io.NewSectionReader(f, 0, now.Bytes), i.content())
	if err == nil && found.same {
		i.seen[key] = now
	}
	return found, err
}

// equal compares two files of one length.
func equal(a, b io.Reader) (bool, error) {
	const part = 256 << 10
	left, right := make([]byte, part), make([]byte, part)
	for {
		n, err := io.ReadFull(a, left)
		m, other := io.ReadFull(b, right)
		if n != m || !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err := errors.Join(err, other); err != nil {
			return false, err
		}
	}
}

// keep gives another's executable a second name, which the kubelet ignores. It is
// never lost: what lies under that name already must be the same.
func keep(d *safepath.Dir, driver string) error {
	err := program.Link(d, driver, replaced(driver))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	one, err := program.Look(d, driver)
	if err != nil {
		return err
	}
	two, err := program.Look(d, replaced(driver))
	if err != nil || one.Same(two) {
		return err
	}
	return fmt.Errorf("%s/%s is kept from an earlier time; move it away, then install again", d.Name(), replaced(driver))
}
