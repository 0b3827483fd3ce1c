package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hostvol/hostvol/pkg/host/run"
)

// Kubectl is how the cluster is reached: the administrator's kubectl knows how to
// log in.
type Kubectl struct {
	// Argv is the program and the arguments that come before all others.
	Argv []string
}

// String is the beginning of a command for a shell.
func (k Kubectl) String() string {
	var words []string
	for _, a := range k.Argv {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

func (k Kubectl) run(ctx context.Context, stdin any, args ...string) ([]byte, error) {
	var in io.Reader
	if stdin != nil {
		data, err := json.Marshal(stdin)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	out, err := run.Output(ctx, append(append([]string{}, k.Argv...), args...), in)
	if errors.Is(err, run.ErrNoProgram) {
		return nil, fmt.Errorf("%w: the cluster is reached through kubectl, so install it, or give its path with --kubectl; or give the objects as files with -f", err)
	}
	return out, err
}

// all reads what matters of the cluster.
func (k Kubectl) all(ctx context.Context) ([]Object, error) {
	out, err := k.run(ctx, nil, "get", "pv,pvc,pods,deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs,nodes,csinodes,csidrivers", "-A", "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	return Read("the cluster", out)
}

// get reads one object; nil if there is none.
func (k Kubectl) get(ctx context.Context, kind, namespace, name string) (Object, error) {
	out, err := k.run(ctx, nil, inNamespace(namespace, "get", strings.ToLower(kind), name, "--ignore-not-found", "-o", "json")...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref(kind, namespace, name), err)
	}
	objects, err := Read("kubectl", out)
	if err != nil || len(objects) == 0 {
		return nil, err
	}
	return objects[0], nil
}

// volumes reads the PersistentVolumes of these names, as far as there are any.
func (k Kubectl) volumes(ctx context.Context, names ...string) (map[string]Object, error) {
	args := append([]string{"get", "persistentvolume"}, names...)
	out, err := k.run(ctx, nil, append(args, "--ignore-not-found", "-o", "json")...)
	if err != nil {
		return nil, fmt.Errorf("read the volumes %s: %w", strings.Join(names, ", "), err)
	}
	objects, err := Read("kubectl", out)
	return take(objects).volumes, err
}

// namespace reads the claims of a namespace, its pods, and what makes pods.
func (k Kubectl) namespace(ctx context.Context, namespace string) (*inventory, error) {
	out, err := k.run(ctx, nil, inNamespace(namespace, "get", "persistentvolumeclaims,pods,deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs", "-o", "json")...)
	if err != nil {
		return nil, fmt.Errorf("read the namespace %s: %w", namespace, err)
	}
	objects, err := Read("kubectl", out)
	return take(objects), err
}

// create makes an object, which must not be there.
func (k Kubectl) create(ctx context.Context, o Object) error {
	if _, err := k.run(ctx, o, "create", "-f", "-", "-o", "name"); err != nil {
		return fmt.Errorf("create %s: %w", o.ref(), err)
	}
	return nil
}

// patch changes an object as a merge patch says, unless somebody else has changed
// it since it was read.
func (k Kubectl) patch(ctx context.Context, o Object, spec any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": o.version()}, "spec": spec})
	if err != nil {
		return err
	}
	if _, err := k.run(ctx, nil, inNamespace(o.namespace(), "patch", strings.ToLower(o.kind()), o.name(), "--type=merge", "-p", string(patch), "-o", "name")...); err != nil {
		return fmt.Errorf("change %s: %w", o.ref(), err)
	}
	return nil
}

// remove deletes an object of the core API, unless it is another one than was read
// or was changed since. It does not wait. The raw form is the only one of kubectl
// that can say so.
func (k Kubectl) remove(ctx context.Context, o Object) error {
	path := "/api/v1/persistentvolumes/" + o.name()
	if o.kind() == kindClaim {
		path = "/api/v1/namespaces/" + o.namespace() + "/persistentvolumeclaims/" + o.name()
	}
	options := Object{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": map[string]any{"uid": o.uid(), "resourceVersion": o.version()}}
	if _, err := k.run(ctx, options, "delete", "--raw", path, "-f", "-"); err != nil {
		return fmt.Errorf("delete %s: %w", o.ref(), err)
	}
	return nil
}

func inNamespace(namespace string, args ...string) []string {
	if namespace == "" {
		return args
	}
	return append(args, "-n", namespace)
}
