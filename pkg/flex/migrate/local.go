package migrate

import (
	"errors"
	"fmt"
	"path"

	"github.com/hostvol/hostvol/pkg/volume/handle"
)

// local leads to hostvol's CSI driver, on the same data in the same place: a
// volume of a pool by its handle, a directory as a static volume.
func (o *Options) local(s *source, subject, node string) (*volume, error) {
	pool, name, dir := s.take("pool"), s.take("volume"), s.take("path")
	switch {
	case name == "" && dir == "":
		return nil, errors.New("it has neither the option volume nor path, so nothing tells which data it is; `hostvol volumes` on the node lists the volumes, write the PersistentVolume by hand")
	case name != "" && dir != "":
		return nil, errors.New("it has both of the options volume and path, which are different data; take one away")
	case dir != "" && (!path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/"):
		return nil, fmt.Errorf("option path %q is not an absolute, clean path of a directory", dir)
	}
	node, err := o.nodeOf(subject, name+dir, node)
	if err != nil {
		return nil, err
	}
	v := &volume{driver: o.Driver, node: node}
	if node == "" {
		v.warnings = append(v.warnings, "no node is known, so the volume is written without a node affinity: its pods must be bound to the node by other means")
	}
	if dir != "" {
		return staticVolume(v, dir), nil
	}
	return o.poolVolume(v, pool, name)
}

func (o *Options) poolVolume(v *volume, pool, name string) (*volume, error) {
	id, tag := handle.Split(name) // the driver takes a name as well as a handle
	if tag != "" && v.node != "" && tag != handle.Tag(v.node) {
		return nil, fmt.Errorf("its option volume %q is the handle of another node's volume than that of %s", name, v.node)
	}
	if tag == "" {
		id = handle.ID(name)
	}
	h := id
	if o.Distributed {
		h = handle.Tagged(id, handle.Tag(v.node))
	}
	v.handle = func(string) string { return h }
	v.key, v.base = "local volume "+h, name
	if id != name && tag == "" {
		v.notes = append(v.notes, fmt.Sprintf("the volume named %q has the id %s", name, id))
	}
	if pool != "" {
		v.notes = append(v.notes, fmt.Sprintf("the pool %q need not be given: a handle finds its volume in every pool of its node", pool))
	}
	v.notes = append(v.notes, fmt.Sprintf("the data stay where they are; see that the volume is there: `hostvol volumes` on %s lists %s", whichNode(v.node), id))
	return v, nil
}

func staticVolume(v *volume, dir string) *volume {
	v.attributes = map[string]any{"path": dir}
	v.handle = func(pv string) string { return "static-" + shorten(pv, 100) }
	v.key, v.base = "local path "+dir+" on "+v.node, path.Base(dir)
	v.notes = append(v.notes,
		fmt.Sprintf("the data stay in %s; a directory of staticRoots in the configuration of the driver must contain it (docs/static-volumes.md)", dir),
		"its size is not enforced; `hostvol adopt` makes it a volume of a pool, whose size can be")
	return v
}

func whichNode(node string) string {
	if node == "" {
		return "the node"
	}
	return "node " + node
}

// nodeOf tells on which node the data lie. What the person says decides.
func (o *Options) nodeOf(subject, option, node string) (string, error) {
	for _, key := range []string{subject, option} {
		if n := o.NodeOf[key]; n != "" {
			node = n
		}
	}
	if node == "" {
		node = o.Node
	}
	switch {
	case node == "" && o.Distributed:
		return "", fmt.Errorf("nothing tells on which node its data lie; give --node-of %s=NODE, or --node NODE for all", quote(subject))
	case node != "" && !validName(node):
		return "", fmt.Errorf("%q is not the name of a node", node)
	}
	return node, nil
}
