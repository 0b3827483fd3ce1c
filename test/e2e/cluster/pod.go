package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Image is what the pods run.
const Image = "busybox:1.36"

// idle does nothing until it is told to end.
const idle = "trap exit TERM; sleep 1000000 & wait"

// NewPod is a pod that sleeps, with the claim, if any, at /data.
func NewPod(name, claim string, change ...func(*corev1.Pod)) *corev1.Pod {
	grace := int64(5)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: Image, Command: []string{"sh", "-c", idle}}},
		},
	}
	if claim != "" {
		WithVolume("data", "/data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}})(p)
	}
	for _, f := range change {
		f(p)
	}
	return p
}

// WithVolume mounts one more volume.
func WithVolume(name, path string, source corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		c := &p.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
}

// WithClaim mounts one more claim.
func WithClaim(claim, path string) func(*corev1.Pod) {
	return WithVolume(claim, path, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}})
}

// WithDevice gives the pod a claim of volumeMode Block as a device.
func WithDevice(claim, path string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
		c := &p.Spec.Containers[0]
		c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: claim, DevicePath: path})
	}
}

// OfGroup makes the pod run as that user, with that group for its volumes.
func OfGroup(user, group int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		yes := true
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, RunAsNonRoot: &yes, FSGroup: &group}
	}
}

// OnNode lets the scheduler choose that node only.
func OnNode(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": node} }
}

// Running makes the pod run a shell script.
func Running(script string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"sh", "-c", script} }
}

// Pod makes a pod.
func (s *Story) Pod(name, claim string, change ...func(*corev1.Pod)) {
	s.Helper()
	if _, err := s.Kube.CoreV1().Pods(s.Namespace).Create(s.Context(), NewPod(name, claim, change...), metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// GetPod reads a pod.
func (s *Story) GetPod(name string) *corev1.Pod {
	s.Helper()
	p, err := s.Kube.CoreV1().Pods(s.Namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// Ready waits until the pod runs and is ready, and gives its node.
func (s *Story) Ready(name string) string {
	s.Helper()
	return s.ReadyWithin(name, 2*time.Minute)
}

// ReadyWithin is Ready with another deadline.
func (s *Story) ReadyWithin(name string, within time.Duration) string {
	s.Helper()
	node := ""
	Eventually(s, within, "pod "+name+" ready", func(ctx context.Context) string {
		p, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		node = p.Spec.NodeName
		return notReady(p)
	})
	return node
}

// notReady tells what a pod waits for; "" when it is ready.
func notReady(p *corev1.Pod) string {
	why := "it is " + string(p.Status.Phase)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
			return ""
		}
		if c.Status == corev1.ConditionFalse && c.Message != "" {
			why += "; " + c.Message
		}
	}
	return why
}

// DeletePod deletes a pod and waits until it is gone.
func (s *Story) DeletePod(name string) {
	s.Helper()
	if err := s.Kube.CoreV1().Pods(s.Namespace).Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	Eventually(s, 2*time.Minute, "pod "+name+" gone", func(ctx context.Context) string {
		_, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return "it is there: " + text(err)
	})
}

// In runs a shell script in a pod, which must succeed, and gives its output
// without space around it.
func (s *Story) In(pod, script string) string {
	s.Helper()
	out, err := s.TryIn(pod, script)
	if err != nil {
		s.Fatalf("in pod %s: %s: %v: %s", pod, script, err, out)
	}
	return out
}

// TryIn is In for a script that may fail.
func (s *Story) TryIn(pod, script string) (string, error) {
	return s.exec(s.Context(), s.Namespace, pod, "", "sh", "-c", script)
}

// Number reads one that a pod notes in a file again and again: there is none
// before the first time, and at the moment in which the shell has emptied it.
func (s *Story) Number(pod, file string) int {
	s.Helper()
	n, err := strconv.Atoi(s.In(pod, "{ until read -r n <"+file+"; do sleep 0.01; done; } 2>/dev/null; echo $n"))
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (c *Cluster) exec(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	request := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var out output
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
	return strings.TrimSpace(out.all.String()), err
}

// output takes both streams of a program.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

// DriverPod is the name of the driver's pod on a node.
func (s *Story) DriverPod(node string) string {
	s.Helper()
	name := ""
	Eventually(s, 2*time.Minute, "driver on "+node, func(ctx context.Context) string {
		list, err := s.Kube.CoreV1().Pods(System).List(ctx, metav1.ListOptions{
			LabelSelector: "app.kubernetes.io/component=driver", FieldSelector: "spec.nodeName=" + node,
		})
		if err != nil {
			return err.Error()
		}
		for i := range list.Items {
			if notReady(&list.Items[i]) == "" {
				name = list.Items[i].Name
				return ""
			}
		}
		return fmt.Sprintf("%d pods, none ready", len(list.Items))
	})
	return name
}

// Hostvol runs the driver's command line in its pod on a node.
func (s *Story) Hostvol(node string, args ...string) string {
	s.Helper()
	out, err := s.TryHostvol(node, args...)
	if err != nil {
		s.Fatalf("hostvol %s on %s: %v: %s", strings.Join(args, " "), node, err, out)
	}
	return out
}

// TryHostvol is Hostvol for what may fail.
func (s *Story) TryHostvol(node string, args ...string) (string, error) {
	s.Helper()
	return s.exec(s.Context(), System, s.DriverPod(node), "hostvol", append([]string{"/hostvol"}, args...)...)
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// KillDriver kills the driver's process on a node, as the kernel does when
// memory is short; the kubelet starts it anew.
func (s *Story) KillDriver(node string) {
	s.Helper()
	s.DriverPod(node)
	Node(s, "exec", node, "pkill", "-KILL", "-x", "hostvol")
}
