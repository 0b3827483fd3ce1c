package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// standIn is kubectl with an API server behind it, as far as migrating touches
// their rules: names taken once, resource versions, preconditions, immutable
// sources, finalizers that hold, claims and volumes that are bound and released by
// a controller, which here runs after each look at volumes, and data that are
// gone when a volume is released whose policy is Delete. A real API server is in
// test/e2e/flexvolume.
type standIn struct{ dir string }

// Names of the environment: the objects, and the call at whose end the caller is
// killed.
const (
	standInDir  = "STANDIN_DIR"
	standInKill = "STANDIN_KILL_AT"
)

func standInMain() int {
	s := standIn{os.Getenv(standInDir)}
	calls := s.count("calls")
	err := s.run(os.Args[1:])
	if at, _ := strconv.Atoi(os.Getenv(standInKill)); at == calls {
		_ = syscall.Kill(os.Getppid(), syscall.SIGKILL)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error from server:", err)
		return 1
	}
	return 0
}

func (s standIn) count(name string) int {
	data, _ := os.ReadFile(filepath.Join(s.dir, name))
	n, _ := strconv.Atoi(string(data))
	n++
	_ = os.WriteFile(filepath.Join(s.dir, name), []byte(strconv.Itoa(n)), 0o600)
	return n
}

func (s standIn) run(args []string) error {
	flag := func(name string) string {
		if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	switch {
	case args[0] == "get" && strings.Contains(args[1], ","):
		return s.list(args[1], flag("-n"))
	case args[0] == "get" && args[1] == "persistentvolume":
		defer s.control()
		var items []any
		for _, name := range args[2:slices.Index(args, "--ignore-not-found")] {
			if o := s.read(kindVolume, "", name); o != nil {
				items = append(items, o)
			}
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"kind": "List", "apiVersion": "v1", "items": items})
	case args[0] == "get":
		if o := s.read(kindNamed(args[1]), flag("-n"), args[2]); o != nil {
			return json.NewEncoder(os.Stdout).Encode(o)
		}
		return nil
	case args[0] == "create":
		var o Object
		if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
			return err
		}
		return s.create(o)
	case args[0] == "patch":
		var p Object
		if err := json.Unmarshal([]byte(flag("-p")), &p); err != nil {
			return err
		}
		return s.patch(s.read(kindNamed(args[1]), flag("-n"), args[2]), p)
	case args[0] == "delete" && args[1] == "--raw":
		body, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return s.delete(strings.Split(args[2], "/"), body)
	}
	return fmt.Errorf("the stand-in does not know %q", args)
}

func kindNamed(s string) string {
	for _, kind := range append(workloadKinds(), kindVolume, kindClaim, kindPod, "Node", "CSINode", "CSIDriver") {
		if low := strings.ToLower(kind); s == low || s == low+"s" || s == "pv" && kind == kindVolume || s == "pvc" && kind == kindClaim {
			return kind
		}
	}
	return s
}

func (s standIn) path(kind, namespace, name string) string {
	return filepath.Join(s.dir, "objects", kind+"_"+namespace+"_"+name)
}

func (s standIn) read(kind, namespace, name string) Object {
	data, err := os.ReadFile(s.path(kind, namespace, name))
	if err != nil {
		return nil
	}
	var o Object
	if err := json.Unmarshal(data, &o); err != nil {
		panic(err)
	}
	return o
}

func (s standIn) write(o Object) {
	o.set(strconv.Itoa(s.count("version")), "metadata", "resourceVersion")
	data, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(s.path(o.kind(), o.namespace(), o.name()), data, 0o600)
	}
	if err != nil {
		panic(err)
	}
}

func (s standIn) all() []Object {
	names, err := filepath.Glob(filepath.Join(s.dir, "objects", "*"))
	if err != nil {
		panic(err)
	}
	var all []Object
	for _, n := range names {
		part := strings.SplitN(filepath.Base(n), "_", 3)
		all = append(all, s.read(part[0], part[1], part[2]))
	}
	return all
}

func (s standIn) list(kinds, namespace string) error {
	items := []any{}
	for _, o := range s.all() {
		wanted := slices.ContainsFunc(strings.Split(kinds, ","), func(k string) bool { return kindNamed(k) == o.kind() })
		if wanted && (namespace == "" || o.namespace() == namespace) {
			items = append(items, o)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"kind": "List", "apiVersion": "v1", "items": items})
}

func (s standIn) create(o Object) error {
	switch spec := o.sub("spec"); {
	case s.read(o.kind(), o.namespace(), o.name()) != nil:
		return fmt.Errorf("(AlreadyExists): %s", o.ref())
	case o.version() != "" || o.uid() != "":
		return errors.New("resourceVersion should not be set on objects to be created")
	case o.kind() == kindVolume && (spec.text("capacity", "storage") == "" || len(spec.texts("accessModes")) == 0 || spec.sub("csi") == nil || spec.sub("flexVolume") != nil):
		return errors.New("the PersistentVolume is invalid")
	case o.kind() == kindClaim && (spec.text("resources", "requests", "storage") == "" || len(spec.texts("accessModes")) == 0):
		return errors.New("the PersistentVolumeClaim is invalid")
	}
	switch o.kind() {
	case kindVolume:
		o.set([]any{"kubernetes.io/pv-protection"}, "metadata", "finalizers")
		o.set("Available", "status", "phase")
	case kindClaim:
		o.set([]any{"kubernetes.io/pvc-protection"}, "metadata", "finalizers")
		o.set("Pending", "status", "phase")
	}
	o.set("uid-"+strconv.Itoa(s.count("uids")), "metadata", "uid")
	s.write(o)
	return nil
}

func (s standIn) patch(o, p Object) error {
	if o == nil {
		return errors.New("(NotFound)")
	}
	if v := p.version(); v != "" && v != o.version() {
		return fmt.Errorf("(Conflict): %s has been modified", o.ref())
	}
	old := o.clone()
	merge(o, p)
	for _, fixed := range []string{"flexVolume", "csi", "volumeName", "accessModes", "storageClassName", "selector"} {
		if (o.kind() == kindClaim || fixed == "flexVolume" || fixed == "csi" || o.kind() == "Job") && !same(old.at("spec", fixed), o.at("spec", fixed)) {
			return fmt.Errorf("(Invalid): spec.%s is immutable", fixed)
		}
	}
	s.write(o)
	return nil
}

func merge(to, from map[string]any) {
	for key, v := range from {
		inner, isMap := v.(map[string]any)
		target, ok := to[key].(map[string]any)
		switch {
		case v == nil:
			delete(to, key)
		case isMap && ok:
			merge(target, inner)
		default:
			to[key] = v
		}
	}
}

func (s standIn) delete(path []string, body []byte) error {
	name := path[len(path)-1]
	o := s.read(kindVolume, "", name)
	if len(path) > 5 {
		o = s.read(kindClaim, path[4], name)
	}
	var options Object
	if err := json.Unmarshal(body, &options); err != nil {
		return err
	}
	switch p := options.sub("preconditions"); {
	case o == nil:
		return errors.New("(NotFound)")
	case p.text("uid") != o.uid() || p.text("resourceVersion") != o.version():
		return fmt.Errorf("(Conflict): precondition failed for %s", o.ref())
	}
	o.set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")
	s.write(o)
	return nil
}

// control does what the controllers do.
func (s standIn) control() {
	in := take(s.all())
	for _, c := range in.claims {
		pv := in.volumes[c.text("spec", "volumeName")]
		switch {
		case c.leaving() && !slices.ContainsFunc(in.using(c.namespace(), c.name()), func(o Object) bool { return o.kind() == kindPod }):
			_ = os.Remove(s.path(kindClaim, c.namespace(), c.name()))
		case c.text("status", "phase") == "Pending" && pv != nil && pv.text("spec", "claimRef", "uid") == "" &&
			pv.text("spec", "claimRef", "namespace")+"/"+pv.text("spec", "claimRef", "name") == c.namespace()+"/"+c.name():
			pv.set(c.uid(), "spec", "claimRef", "uid")
			pv.set("Bound", "status", "phase")
			c.set("Bound", "status", "phase")
			s.write(pv)
			s.write(c)
		}
	}
	in = take(s.all())
	for _, pv := range in.volumes {
		r := pv.sub("spec", "claimRef")
		c := in.claims[r.text("namespace")+"/"+r.text("name")]
		switch {
		case pv.text("status", "phase") == "Bound" && (c == nil || c.uid() != r.text("uid")):
			pv.set("Released", "status", "phase")
			if pv.text("spec", "persistentVolumeReclaimPolicy") == "Delete" {
				_ = os.WriteFile(filepath.Join(s.dir, "DATA-LOST"), []byte(pv.name()), 0o600)
			}
			s.write(pv)
		case pv.leaving() && pv.text("status", "phase") != "Bound":
			_ = os.Remove(s.path(kindVolume, "", pv.name()))
		}
	}
}
