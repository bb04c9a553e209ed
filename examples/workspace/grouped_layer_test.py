"""A model with a grouped convolution, in a workspace that builds on the patched TensorFlow."""

import tensorflow as tf
from absl.testing import absltest


class GroupedLayerTest(absltest.TestCase):
    def test_fits(self):
        layer = tf.keras.layers.Conv2D(16, 3, groups=4, input_shape=(8, 8, 8))
        model = tf.keras.Sequential([layer, tf.keras.layers.GlobalAveragePooling2D()])
        model.compile("sgd", "mse")
        history = model.fit(tf.ones([4, 8, 8, 8]), tf.ones([4, 16]), epochs=3, verbose=0)
        self.assertEqual(layer.kernel.shape, (3, 3, 2, 16))
        self.assertLess(history.history["loss"][-1], history.history["loss"][0])


if __name__ == "__main__":
    absltest.main()
