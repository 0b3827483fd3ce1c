package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Story is what one user does, in a namespace that goes with the test.
type Story struct {
	testing.TB
	*Cluster
	Namespace string
}

// Begin makes a namespace for the test. When the test has failed, what there is
// to know of it is kept in out/e2e/<test>.
func Begin(t testing.TB, c *Cluster) *Story {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(t.Name(), "Test"), "/", "-"))
	name = fmt.Sprintf("%.40s-%s", name, strings.ToLower(rand.Text()[:4]))
	s := &Story{TB: t, Cluster: c, Namespace: name}
	_, err := c.Kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	// The namespace's service account is made by a controller; pods need it.
	Eventually(t, time.Minute, "service account of "+name, func(ctx context.Context) string {
		_, err := c.Kube.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return text(err)
	})
	return s
}

// end removes the namespace with all that is in it, and the volumes that were
// made for it.
func (s *Story) end() {
	if s.Failed() {
		s.keepEvidence()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.Kube.CoreV1().Namespaces().Delete(ctx, s.Namespace, metav1.DeleteOptions{}); err != nil {
		s.Errorf("delete namespace %s: %v", s.Namespace, err)
		return
	}
	for {
		_, err := s.Kube.CoreV1().Namespaces().Get(ctx, s.Namespace, metav1.GetOptions{})
		left := ""
		if apierrors.IsNotFound(err) {
			if left = s.leftVolumes(ctx); left == "" {
				return
			}
		}
		select {
		case <-ctx.Done():
			s.Errorf("namespace %s is not gone: %v %s", s.Namespace, err, left)
			s.keepEvidence()
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// leftVolumes tells of the volumes that the namespace's claims have left.
// Retained ones are the test's to remove.
func (s *Story) leftVolumes(ctx context.Context) string {
	list, err := s.Kube.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var left []string
	for _, pv := range list.Items {
		if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == s.Namespace {
			left = append(left, pv.Name)
		}
	}
	if len(left) == 0 {
		return ""
	}
	return "volumes are left: " + strings.Join(left, " ")
}

// keepEvidence writes what an admin would look at.
func (s *Story) keepEvidence() {
	dir := filepath.Join(Root(), "out/e2e", strings.ReplaceAll(s.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.Log(err)
		return
	}
	s.Logf("evidence is in %s", dir)
	write := func(name, content string, err error) {
		if err != nil {
			content += "\n" + err.Error()
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o644); err != nil {
			s.Log(err)
		}
	}
	for name, args := range map[string][]string{
		"objects.txt":  {"-n", s.Namespace, "get", "pods,pvc,events", "-o", "wide"},
		"objects.yaml": {"-n", s.Namespace, "get", "pods,pvc", "-o", "yaml"},
		"cluster.txt":  {"get", "nodes,pv,volumeattachments,csinodes,storageclasses", "-o", "wide"},
		"capacity.txt": {"-n", System, "get", "csistoragecapacities", "-o", "yaml"},
		"driver.txt":   {"-n", System, "get", "pods,events", "-o", "wide"},
	} {
		out, err := Kubectl(args...)
		write(name, out, err)
	}
	pods, err := s.Kube.CoreV1().Pods(System).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Log(err)
		return
	}
	for _, p := range pods.Items {
		out, err := Kubectl("-n", System, "logs", "--all-containers", "--prefix", "--timestamps", "--tail=3000", p.Name)
		write("log-"+p.Spec.NodeName+"-"+p.Name+".txt", out, err)
	}
	for _, n := range Nodes() {
		out, err := Run("hack/cluster/node.sh", "exec", n, "tail", "-n", "2000", "/var/log/kubelet.log")
		write("kubelet-"+n+".txt", out, err)
	}
}

// text is an error's, "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
