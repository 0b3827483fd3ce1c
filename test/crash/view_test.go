package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// view is what can be seen of a pool without asking any daemon: on the disk and in the mount table.
type view struct {
	Volumes map[string]seen
	// Snapshots are seen with the files of their volumes.
	Snapshots map[string]seen
	Groups    map[string]int // members
	Trash     map[string]int // entries of a volume or snapshot
	Mounts    map[string]int // layers on a volume's target
	Staging   []string
	// Origins are the files of directories to be adopted.
	Origins map[string]string
}

// seen is a volume or snapshot on the disk.
type seen struct {
	Bytes    int64
	Enforced bool
	Origin   string
	From, Of string            // ids
	Files    map[string]string // path → content
}

// record is the part of a record that the tests know, apart from the product's type.
type record struct {
	ID       string `json:"id"`
	Bytes    int64  `json:"bytes"`
	Enforced bool   `json:"enforced"`
	Origin   string `json:"origin"`
	From     struct{ Snapshot, Volume string }
	Group    *struct{ Members int }
	Snapshot *struct {
		Of   string `json:"of"`
		Held int64  `json:"held"`
	} `json:"snapshot"`
}

const attribute = "trusted.hostvol"

func (w *world) view() (view, error) {
	v := view{Volumes: map[string]seen{}, Snapshots: map[string]seen{}, Groups: map[string]int{}, Trash: map[string]int{}, Mounts: map[string]int{}}
	for _, id := range names(filepath.Join(w.pool, "volumes")) {
		s, err := w.see(w.item(id), id)
		if err != nil {
			return v, fmt.Errorf("volume %s: %w", id, err)
		}
		v.Volumes[id] = s
	}
	for _, id := range names(filepath.Join(w.pool, "snapshots")) {
		at := filepath.Join(w.pool, "snapshots", id)
		members := map[string]string{id: at}
		if r, err := readRecord(at, id); err == nil && r.Group != nil {
			delete(members, id)
			for _, member := range names(at) {
				members[member] = filepath.Join(at, member)
			}
			v.Groups[id] = len(members)
			if len(members) != r.Group.Members {
				return v, fmt.Errorf("group %s has %d members, its record says %d", id, len(members), r.Group.Members)
			}
		}
		for id, at := range members {
			s, err := w.see(at, id)
			if err != nil {
				return v, fmt.Errorf("snapshot %s: %w", id, err)
			}
			v.Snapshots[id] = s
		}
	}
	for _, name := range names(filepath.Join(w.pool, "trash")) {
		id, _, _ := strings.Cut(name, "@")
		v.Trash[id]++
	}
	v.Staging = names(filepath.Join(w.pool, "staging"))
	mounts, err := mountsBelow(w.daemon.KubeletDir())
	if err != nil {
		return v, err
	}
	for _, m := range mounts {
		id := filepath.Base(m.point)
		v.Mounts[id]++
		if want := filepath.Join(w.inFilesystem(id), "data"); !isImage(w.item(id)) && m.root != want {
			return v, fmt.Errorf("%s shows %s, not %s", m.point, m.root, want)
		}
	}
	v.Origins, err = files(w.origins)
	return v, err
}

func (w *world) item(id string) string { return filepath.Join(w.pool, "volumes", id) }
func (w *world) data(id string) string { return filepath.Join(w.item(id), "data") }

// inFilesystem is the item's path as the mount table and btrfs tell it.
func (w *world) inFilesystem(id string) string {
	return strings.TrimPrefix(w.item(id), w.fs.mount)
}

func (w *world) see(item, id string) (seen, error) {
	r, err := readRecord(item, id)
	if err != nil {
		return seen{}, err
	}
	content, err := contentOf(item)
	s := seen{Bytes: r.Bytes, Enforced: r.Enforced, Origin: r.Origin, From: r.From.Snapshot + r.From.Volume, Files: content}
	if r.Snapshot != nil {
		s.Of = r.Snapshot.Of
	}
	return s, err
}

func readRecord(item, id string) (record, error) {
	buffer := make([]byte, 4096)
	n, err := unix.Lgetxattr(item, attribute, buffer)
	if err != nil {
		return record{}, fmt.Errorf("record: %w", err)
	}
	var r record
	if err := json.Unmarshal(buffer[:n], &r); err != nil || r.ID != id {
		return record{}, fmt.Errorf("record %s: %w", buffer[:n], err)
	}
	return r, nil
}

// contentOf is what an item holds: its files, or the size and the beginning of its image.
func contentOf(item string) (map[string]string, error) {
	if !isImage(item) {
		return files(filepath.Join(item, "data"))
	}
	f, err := os.Open(filepath.Join(item, "image"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 512)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	return imageOf(info.Size(), strings.TrimRight(string(head), "\x00")), nil
}

// imageOf is what contentOf tells of an image.
func imageOf(bytes int64, head string) map[string]string {
	return map[string]string{"size": fmt.Sprint(bytes), "head": head}
}

func isImage(item string) bool {
	_, err := os.Lstat(filepath.Join(item, "image"))
	return err == nil
}

// files reads a whole tree.
func files(root string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, root+"/")] = string(text)
		return err
	})
	return out, err
}

// names lists a directory; one that is not there is empty.
func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
