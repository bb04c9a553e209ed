"""What Python runs as it starts, in tests.

Looks for garbage in cycles less often: each time, all objects of TensorFlow and Keras are
looked at, which is up to a third of a test's time.
"""

import gc

gc.set_threshold(20000, 50, 100)
