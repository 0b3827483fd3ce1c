// Command pack writes a container image of one layer from local files, as an
// archive that `ctr images import` reads. Equal input gives an equal image.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	var c content
	out := flag.String("o", "", "archive to write")
	ref := flag.String("ref", "", "NAME:TAG of the image")
	entrypoint := flag.String("entrypoint", "", "what the image runs, nothing if empty")
	flag.Var(&c.trees, "tree", "DIRECTORY: its files and directories, may be repeated")
	flag.Var(&c.files, "file", "PATH=FILE: an executable, may be repeated")
	flag.Var(&c.links, "link", "PATH=TARGET: a symbolic link, may be repeated")
	flag.Var(&c.dirs, "dir", "PATH: an empty directory, may be repeated")
	flag.Parse()
	if err := pack(*out, *ref, *entrypoint, c); err != nil {
		log.Fatal(err)
	}
}

// content is what an image is made of.
type content struct{ trees, files, links, dirs list }

func pack(out, ref, entrypoint string, c content) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	data, err := layer(c)
	if err != nil {
		return err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return err
	}
	img, err = mutate.ConfigFile(img, config(img, entrypoint))
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, img)
}

func config(img v1.Image, entrypoint string) *v1.ConfigFile {
	c, err := img.ConfigFile()
	if err != nil {
		log.Fatal(err)
	}
	c = c.DeepCopy()
	c.Architecture, c.OS = "amd64", "linux"
	c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if entrypoint != "" {
		c.Config.Entrypoint = []string{entrypoint}
	}
	return c
}

// layer is the archive of all entries, each with its parents before it.
func layer(c content) ([]byte, error) {
	var b bytes.Buffer
	w := &writer{Writer: tar.NewWriter(&b), have: map[string]bool{".": true, "/": true}}
	for _, t := range c.trees {
		if err := w.tree(t); err != nil {
			return nil, err
		}
	}
	for _, d := range c.dirs {
		if err := w.dir(clean(d)); err != nil {
			return nil, err
		}
	}
	for _, f := range c.files {
		p, source, _ := strings.Cut(f, "=")
		data, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		if err := w.add(&tar.Header{Name: clean(p), Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))}, data); err != nil {
			return nil, err
		}
	}
	for _, l := range c.links {
		p, target, _ := strings.Cut(l, "=")
		if err := w.add(&tar.Header{Name: clean(p), Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

type writer struct {
	*tar.Writer
	have map[string]bool
}

func (w *writer) dir(p string) error {
	if w.have[p] {
		return nil
	}
	if err := w.dir(path.Dir(p)); err != nil {
		return err
	}
	w.have[p] = true
	mode := int64(0o755)
	if p == "tmp" {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Name: p + "/", Typeflag: tar.TypeDir, Mode: mode})
}

// tree adds what lies below a directory. A symbolic link there is an error.
func (w *writer) tree(root string) error {
	return filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return w.dir(name)
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", file)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return w.add(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm()), Size: int64(len(data))}, data)
	})
}

func (w *writer) add(h *tar.Header, data []byte) error {
	if err := w.dir(path.Dir(h.Name)); err != nil {
		return err
	}
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	_, err := w.Write(data)
	return err
}
