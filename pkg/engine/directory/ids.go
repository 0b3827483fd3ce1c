package directory

import (
	"errors"
	"sync"
)

// firstProject is where our project ids begin: above those that people give by
// hand, container runtimes and the kubelet (from 1 048 577) take.
const firstProject = 1 << 29

// Projects gives out project ids, one set for each filesystem, since two pools
// may lie on the same one.
type Projects struct {
	mu    sync.Mutex
	byDev map[uint64]*ids
}

// NewProjects makes an empty one. A process needs one.
func NewProjects() *Projects { return &Projects{byDev: map[uint64]*ids{}} }

func (p *Projects) of(dev uint64) *ids {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byDev[dev] == nil {
		p.byDev[dev] = &ids{used: map[uint32]bool{}, next: firstProject}
	}
	return p.byDev[dev]
}

type ids struct {
	mu   sync.Mutex
	used map[uint32]bool
	next uint32
}

// take finds an id that no record has, and for which the kernel counts nothing:
// somebody else may use the same filesystem.
func (i *ids) take(inUse func(uint32) (bool, error)) (uint32, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for range 1 << 20 {
		id := i.next
		i.next++
		if i.next == 1<<31 {
			i.next = firstProject
		}
		if i.used[id] {
			continue
		}
		busy, err := inUse(id)
		if err != nil {
			return 0, err
		}
		if !busy {
			i.used[id] = true
			return id, nil
		}
	}
	return 0, errors.New("no free project id found on the filesystem")
}

func (i *ids) mark(id uint32) {
	if id < firstProject {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used[id] = true
}

func (i *ids) free(id uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.used, id)
}
