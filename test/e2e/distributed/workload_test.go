package distributed

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A StatefulSet has one volume for each replica, on nodes of their own; a
// replica comes back to its node and its data.
func TestStatefulSetOverTheNodes(t *testing.T) {
	s := begin(t)
	replicas := int32(3)
	pod := cluster.NewPod("", "", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "db"}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: "kubernetes.io/hostname", WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
		}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	_, err := s.Kube.AppsV1().StatefulSets(s.Namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:             &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template:             corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*cluster.NewClaim("data", "32Mi")},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]string{}
	for i := range replicas {
		name := fmt.Sprintf("db-%d", i)
		nodes[s.Ready(name)] = name
		s.In(name, "hostname >/data/name")
	}
	if len(nodes) != 3 {
		t.Errorf("three replicas are on the nodes %v", nodes)
	}
	for node, name := range nodes {
		before := s.GetPod(name).UID
		if err := s.Kube.CoreV1().Pods(s.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, time.Minute, "another "+name, func(ctx context.Context) string {
			p, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil && p.UID != before {
				return ""
			}
			return "the old one"
		})
		if again := s.Ready(name); again != node {
			t.Errorf("%s was on %s and is now on %s", name, node, again)
		}
		if got := s.In(name, "cat /data/name"); got != name {
			t.Errorf("%s found the data of %s", name, got)
		}
	}
}
