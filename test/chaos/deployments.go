package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// deploymentLabel has the Deployment's name, on its pods.
const deploymentLabel = "soak-deployment"

// deployment is scaled up and down. Its pods ask for no addresses.
type deployment struct {
	plan plan
	most int
}

// deployments lists them: one with VFs, one without.
func deployments() []deployment {
	scaled := func(name string, node, most int, needs map[string]int64, networks ...wanted) deployment {
		p := newPlan(kind{name: name, needs: needs, networks: networks}, node, 0)
		p.Name = name
		return deployment{plan: p, most: most}
	}
	return []deployment{
		scaled("roll-vf", 1, 2, map[string]int64{"second": 1}, onSecond),
		scaled("roll-macvlan", 2, 3, nil, onMacvlan, onBridge),
	}
}

func (d deployment) object() *appsv1.Deployment {
	labels := map[string]string{deploymentLabel: d.plan.Name}
	none := int32(0)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: d.plan.Name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: d.plan.annotations()},
				Spec:       d.plan.spec(),
			},
		},
	}
}

// scale makes the Deployments, and gives them other numbers of replicas until ctx ends.
func (w *workload) scale(ctx context.Context, random *rand.Rand) error {
	all := deployments()
	for _, d := range all {
		_, err := w.pods.api.AppsV1().Deployments(namespace).Create(ctx, d.object(), metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	for {
		d := all[random.IntN(len(all))]
		w.setReplicas(ctx, d.plan.Name, random.IntN(d.most+1))
		if pause(ctx, time.Duration(8+random.IntN(15))*time.Second) != nil {
			return nil
		}
	}
}

func (w *workload) setReplicas(ctx context.Context, name string, n int) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	patch := fmt.Sprintf(`{"spec": {"replicas": %d}}`, n)
	_, err := w.pods.api.AppsV1().Deployments(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		w.tally.count("API errors", "scale")
		return
	}
	w.tally.count("scaled", name)
}

// deleteDeployments deletes them with their pods, and waits for that.
func (w *workload) deleteDeployments(ctx context.Context) error {
	inBackground := metav1.DeletePropagationBackground
	for _, d := range deployments() {
		err := w.pods.api.AppsV1().Deployments(namespace).Delete(ctx, d.plan.Name, metav1.DeleteOptions{PropagationPolicy: &inBackground})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
