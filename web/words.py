"""Words of the catalogue whose English we know: what a merchant writes in Chinese, a reader of English still reads."""

UNITS = ("桶", "盒", "块", "条", "提", "罐", "只", "支", "箱", "袋", "套", "瓶", "把", "包", "份", "斤", "公斤")
REGIONS = ("山东青岛", "贵州安顺", "贵州黔东南", "甘肃定西", "甘肃陇南", "山东", "贵州", "甘肃")
