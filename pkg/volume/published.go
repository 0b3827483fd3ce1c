package volume

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// publication is one target at which a volume, or a part of it, is mounted.
type publication struct {
	// exclusive: its access mode allows no second one. Not known, and false,
	// after a restart of the daemon.
	exclusive bool
	// part: it is a directory of the volume, which the kubelet has bound for a
	// subPath.
	part bool
}

// published is what is mounted where, as far as this process has seen. It is a
// help for answering quickly. The kernel is the truth: before an entry refuses
// anything, its target is looked at.
type published struct {
	mu sync.Mutex
	by map[string]map[string]publication // volume id → target
	at map[string]string                 // target → volume id
}

func newPublished() *published {
	return &published{by: map[string]map[string]publication{}, at: map[string]string{}}
}

// add takes note of a mount. What was noted of the target before is void.
func (t *published) add(id, target string, p publication) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.at[target]
	switch {
	case id == staticKey && known: // besides the handle, if that is known
	case known && before != id:
		t.remove(before, target)
		fallthrough
	default:
		t.at[target] = id
	}
	if t.by[id] == nil {
		t.by[id] = map[string]publication{}
	}
	t.by[id][target] = p
}

func (t *published) drop(id, target string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(id, target)
	if t.at[target] == id {
		delete(t.at, target)
	}
}

// forget takes note that nothing is mounted at the target any more, whatever it
// was.
func (t *published) forget(target string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(t.at[target], target)
	t.remove(staticKey, target)
	delete(t.at, target)
}

func (t *published) remove(id, target string) {
	delete(t.by[id], target)
	if len(t.by[id]) == 0 {
		delete(t.by, id)
	}
}

// of copies the entries of a volume; nil for none.
func (t *published) of(id string) map[string]publication {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.by[id])
}

// above finds a target below which the path lies, "" for none.
func (t *published) above(path, top string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for dir := filepath.Dir(path); mount.Below(dir, top); dir = filepath.Dir(dir) {
		if _, ok := t.at[dir]; ok {
			return dir
		}
	}
	return ""
}

// live looks at the targets of a volume, and drops those where nothing is
// mounted any more.
func (s *Service) live(id string) map[string]publication {
	entries := s.published.of(id)
	for path := range entries {
		if s.mounted(path) {
			continue
		}
		s.published.drop(id, path)
		delete(entries, path)
	}
	return entries
}

// mounted tells whether anything is mounted at the path. In doubt it says yes.
func (s *Service) mounted(path string) bool {
	t, err := s.target(path)
	if err != nil {
		return !notExist(err)
	}
	defer t.close()
	state, err := mount.Look(t.parent, t.name)
	return err != nil || state.Mounted
}

// staticKey is where the targets of all static volumes are kept besides: calls
// that carry no attributes know them by their mount.
const staticKey = "/"

// checkPropagation warns where nobody else would see what is mounted: in a
// container whose mount of the kubelet's directory is not bidirectional, pods
// would write to the node's own disk.
func (s *Service) checkPropagation(ctx context.Context, table []mount.Entry) {
	if at, ok := mount.At(table, s.kubeletReal); ok && !at.Shared {
		logger(ctx).Error(nil, "The kubelet's directory is not on a shared mount: volumes are seen in this mount namespace only. In a container, set mountPropagation: Bidirectional",
			"kubeletDir", s.kubeletReal, "mount", at.Point)
	}
}

// findStatic finds the static volumes that an earlier daemon has published.
func (s *Service) findStatic(table []mount.Entry) {
	for _, root := range s.opts.StaticRoots {
		device, inside, ok := inFilesystem(table, root)
		if !ok {
			continue
		}
		for _, e := range table {
			if e.Device == device && mount.Below(e.Root, inside) && mount.Below(e.Point, s.kubeletReal) {
				s.published.add(staticKey, s.asRequested(e.Point), publication{})
			}
		}
	}
}

// isStaticTarget tells whether a static volume is mounted at the path.
func (s *Service) isStaticTarget(path string) bool {
	if _, ok := s.published.of(staticKey)[path]; !ok {
		return false
	}
	if s.mounted(path) {
		return true
	}
	s.published.drop(staticKey, path)
	return false
}

// inFilesystem tells on which device a path lies, and where in its filesystem.
func inFilesystem(table []mount.Entry, path string) (device, inside string, ok bool) {
	if plain, err := filepath.EvalSymlinks(path); err == nil {
		path = plain
	}
	at, ok := mount.At(table, path)
	return at.Device, filepath.Join(at.Root, strings.TrimPrefix(path, at.Point)), ok
}

// asRequested turns a mount point into the path by which the CO knows it.
func (s *Service) asRequested(point string) string {
	return s.opts.KubeletDir + strings.TrimPrefix(point, s.kubeletReal)
}

// publishedAt gives one target at which the volume is mounted, "" for none.
func (s *Service) publishedAt(id string) string {
	for target := range s.live(id) {
		return target
	}
	return ""
}

// PublishedAt tells which volume was published at a target, by its id; "" for none
// that is known, and for static ones.
func (s *Service) PublishedAt(target string) string {
	s.published.mu.Lock()
	defer s.published.mu.Unlock()
	if id := s.published.at[target]; id != staticKey {
		return id
	}
	return ""
}

// Publications lists all targets of a volume.
func (s *Service) Publications(id string) []string {
	var out []string
	for target := range s.live(id) {
		out = append(out, target)
	}
	return out
}

// findPublished reads the mount table once, when a pool has been opened, for
// what an earlier daemon has published from it.
func (s *Service) findPublished(p *pool.Pool) error {
	table, err := mount.Table()
	if err != nil {
		return fmt.Errorf("find published volumes: %w", err)
	}
	devices := s.attachedDevices(p)
	for _, m := range s.mountsOf(table, p.Path(), devices) {
		s.published.add(m.id, m.target, publication{part: m.part})
	}
	s.detachIdle(p, devices)
	return nil
}

// attachedDevices are the devices by which volumes of a pool are attached: names
// such as "loop7", and whose they are. A volume of which that cannot be told is
// left out, and never detached; health tells of it.
func (s *Service) attachedDevices(p *pool.Pool) map[string]string {
	of := map[string]string{}
	for _, rec := range p.Select("", 0, func(r pool.Record) bool { return r.Block || r.FSType != "" }) {
		err := withItem(p, rec.ID, func(item *safepath.Dir) error {
			names, err := p.Engine(rec.Engine).Devices(context.Background(), item, rec.Volume)
			for _, name := range names {
				of[name] = rec.ID
			}
			return err
		})
		if err != nil {
			s.told("Cannot tell the devices of a volume; they are left as they are", p, rec.ID, err)
		}
	}
	return of
}

// detachIdle detaches what an earlier daemon attached and nobody uses: it died
// between the two, or before it could detach.
func (s *Service) detachIdle(p *pool.Pool, devices map[string]string) {
	for _, id := range devices {
		if len(s.published.of(id)) > 0 {
			continue
		}
		rec, err := p.Get(id)
		if err == nil {
			err = s.detach(context.Background(), p, rec)
		}
		if err != nil {
			s.told("Could not detach a volume that nobody uses; the next publication takes its device", p, id, err)
		}
	}
}

func (s *Service) told(message string, p *pool.Pool, id string, err error) {
	logger(context.Background()).Error(err, message, "pool", p.Name(), "volumeID", id)
}

// poolMount is a mount of a pool's volume, or of a part of it, on a target.
type poolMount struct {
	id, target string
	part       bool
}

// mountsOf finds the mounts of a pool's volumes below the kubelet's directory.
// It goes by the mount table alone, since a look at a mount of somebody else
// can hang. devices are those of attachedDevices.
func (s *Service) mountsOf(table []mount.Entry, poolPath string, devices map[string]string) []poolMount {
	device, inside, ok := inFilesystem(table, poolPath)
	if !ok {
		return nil
	}
	volumes := filepath.Join(inside, pool.VolumesDir)
	var out []poolMount
	for _, e := range table {
		if id, part := ofDevice(e, devices); id != "" && mount.Below(e.Point, s.kubeletReal) {
			out = append(out, poolMount{id: id, target: s.asRequested(e.Point), part: part})
			continue
		}
		if e.Device != device || !mount.Below(e.Root, volumes) || !mount.Below(e.Point, s.kubeletReal) {
			continue
		}
		id, inside, _ := strings.Cut(strings.TrimPrefix(e.Root, volumes+"/"), "/")
		out = append(out, poolMount{id: id, target: s.asRequested(e.Point), part: strings.Contains(inside, "/")})
	}
	return out
}

// ofDevice tells whose device it is whose filesystem a mount shows, a part of it or
// all, or whose node. Nodes lie on a devtmpfs as a rule, in some containers on
// another filesystem; in doubt a name decides, so that nothing in use is detached.
func ofDevice(e mount.Entry, devices map[string]string) (id string, part bool) {
	if name, ok := strings.CutPrefix(e.Source, "/dev/"); ok && devices[name] != "" {
		return devices[name], e.Root != "/"
	}
	return devices[filepath.Base(e.Root)], false
}
