package image

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// identity is what tells images apart for as long as they exist.
type identity = safepath.Identity

// devices are the loop devices that this daemon, or an earlier one, has attached.
// It is a help for finding them quickly: each is looked at, and its backing file
// compared, before anything is done with it.
type devices struct {
	mu sync.Mutex
	of map[identity][]loop.Device
	// off is why the machine's devices are not known, so that none may be attached.
	off error
	// quiet counts who relies on it that nobody writes to an image, busy who is
	// about to attach it.
	quiet, busy map[identity]int
	// uses are locked to change how an image is attached or mounted, and locked for
	// reading by a look at what is mounted, which mounts it once more.
	uses map[identity]*sync.RWMutex
	// freezing are the images whose filesystem is held frozen.
	freezing map[identity]bool
}

// find asks the kernel for all devices of the machine, once, at the start.
func (d *devices) find() {
	d.of, d.quiet, d.busy = map[identity][]loop.Device{}, map[identity]int{}, map[identity]int{}
	d.uses, d.freezing = map[identity]*sync.RWMutex{}, map[identity]bool{}
	_ = d.scan() // it is made again before anything is attached
}

// scan asks the kernel; d.mu is held, or nobody else knows d yet.
func (d *devices) scan() error {
	all, err := loop.Backed()
	if d.off = err; err != nil {
		return err
	}
	for _, b := range all {
		id := identity{Dev: b.Dev, Ino: b.Ino}
		d.of[id] = append(d.of[id], loop.Device{Number: b.Number, ReadOnly: b.ReadOnly, Autoclear: b.Autoclear})
	}
	return nil
}

func (d *devices) list(id identity) []loop.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]loop.Device(nil), d.of[id]...)
}

func (d *devices) add(id identity, one loop.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of[id] = append(d.of[id], one)
}

// attached are the devices of an image that are attached now, each opened so that
// it stays. The caller closes the files.
func (d *devices) attached(image *os.File) (id identity, found []held, err error) {
	if id, err = imagefile.Identity(image); err != nil {
		return id, nil, err
	}
	for _, device := range d.list(id) {
		f, err := device.Open(image, os.O_RDONLY)
		if errors.Is(err, loop.ErrNotBacked) {
			d.remove(id, device)
			continue
		}
		if err != nil {
			closeAll(found)
			return id, nil, err
		}
		found = append(found, held{Device: device, open: f})
	}
	return id, found, nil
}

// remove forgets one device. Others may have been added since the list was read.
func (d *devices) remove(id identity, gone loop.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of[id] = slices.DeleteFunc(d.of[id], func(one loop.Device) bool { return one.Number == gone.Number })
	if len(d.of[id]) == 0 {
		delete(d.of, id)
	}
}

// held is a device that is open, and backed by its image for as long.
type held struct {
	loop.Device
	open *os.File
	// fresh tells that it was not attached before.
	fresh bool
}

func closeAll(all []held) {
	for _, h := range all {
		_ = h.open.Close() // opened for reading
	}
}

// begin notes that an image is about to be attached or mounted. It fails while
// somebody relies on its being quiet.
func (d *devices) begin(id identity) (end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off != nil {
		if err := d.scan(); err != nil { // what was wrong may have been mended
			return nil, fmt.Errorf("loop devices cannot be used: %w", err)
		}
	}
	if d.quiet[id] > 0 {
		return nil, fmt.Errorf("%w: its image is being copied as it is; try again when that has ended", engine.ErrBusy)
	}
	return d.count(d.busy, id), nil
}

// calm notes that an image, which nobody uses, is to stay so. It fails while
// somebody is about to attach it.
func (d *devices) calm(id identity) (end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[id] > 0 {
		return nil, fmt.Errorf("%w: it is being published; try again", engine.ErrBusy)
	}
	return d.count(d.quiet, id), nil
}

// change waits until nobody looks at how the image is used, and keeps others from it.
func (d *devices) change(id identity) (end func()) {
	use := d.use(id)
	use.Lock()
	return use.Unlock
}

// glance keeps the use of an image from being changed. It does not wait for a
// change, which can take as long as fsck does.
func (d *devices) glance(id identity) (end func(), err error) {
	use := d.use(id)
	if !use.TryRLock() {
		return nil, fmt.Errorf("%w: it is being attached or detached; try again", engine.ErrBusy)
	}
	return use.RUnlock, nil
}

func (d *devices) use(id identity) *sync.RWMutex {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.uses[id] == nil {
		d.uses[id] = new(sync.RWMutex)
	}
	return d.uses[id]
}

// forget drops what is kept of an image that is about to be removed.
func (d *devices) forget(id identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.uses, id)
}

// freeze notes that the image's filesystem is about to be frozen, which one can do
// at a time.
func (d *devices) freeze(id identity) (end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.freezing[id] {
		return nil, fmt.Errorf("%w: another copy of it is being made; try again", engine.ErrBusy)
	}
	d.freezing[id] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.freezing, id)
	}, nil
}

// count adds one, until the function is called; d.mu is held.
func (d *devices) count(in map[identity]int, id identity) func() {
	in[id]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if in[id]--; in[id] == 0 {
			delete(in, id)
		}
	}
}
