package image

import (
	"errors"
	"fmt"
	"os"
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
}

// find asks the kernel for all devices of the machine, once, at the start.
func (d *devices) find() {
	d.of, d.quiet, d.busy = map[identity][]loop.Device{}, map[identity]int{}, map[identity]int{}
	all, err := loop.Backed()
	if err != nil {
		d.off = err
		return
	}
	for _, b := range all {
		id := identity{Dev: b.Dev, Ino: b.Ino}
		d.of[id] = append(d.of[id], loop.Device{Number: b.Number, ReadOnly: b.ReadOnly, Autoclear: b.Autoclear})
	}
}

func (d *devices) list(id identity) []loop.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]loop.Device(nil), d.of[id]...)
}

func (d *devices) set(id identity, now []loop.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(now) == 0 {
		delete(d.of, id)
		return
	}
	d.of[id] = now
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
	var now []loop.Device
	for _, device := range d.list(id) {
		f, err := device.Open(image, os.O_RDONLY)
		if errors.Is(err, loop.ErrNotBacked) {
			continue
		}
		if err != nil {
			closeAll(found)
			return id, nil, err
		}
		now = append(now, device)
		found = append(found, held{Device: device, open: f})
	}
	d.set(id, now)
	return id, found, nil
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
		return nil, fmt.Errorf("loop devices cannot be used: %w", d.off)
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
